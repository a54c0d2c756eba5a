module mirrord.test/delve

go 1.22
