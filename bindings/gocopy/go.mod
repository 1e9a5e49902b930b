module github.com/redmux/redmux/bindings/go

go 1.23
