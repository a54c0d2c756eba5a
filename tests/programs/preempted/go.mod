module mirrord.test/preempted

go 1.22
