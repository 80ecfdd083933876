module example.org/masker-client

go 1.19
