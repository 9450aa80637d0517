module dragonfly.test/clients/walk

go 1.23

require dragonfly.test/clients/manager v0.0.0

replace dragonfly.test/clients/manager => ./generated
