module mirrord.test/burst

go 1.22
