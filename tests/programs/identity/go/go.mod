module mirrord.test/identity

go 1.22
