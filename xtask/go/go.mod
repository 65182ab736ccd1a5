module spandrel.dev/layouts

go 1.18
