module mirrord.test/serve

go 1.22
