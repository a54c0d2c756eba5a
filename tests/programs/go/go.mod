module mirrord.test/programs

go 1.24
