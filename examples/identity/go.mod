module identity

go 1.21
