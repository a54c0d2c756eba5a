module mirrord.test/look

go 1.22
