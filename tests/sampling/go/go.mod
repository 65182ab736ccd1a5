module spandrel/sampling

go 1.25

require (
	github.com/open-telemetry/opentelemetry-collector-contrib/pkg/sampling v0.164.1
	go.opentelemetry.io/collector/pdata v1.70.0
	go.opentelemetry.io/otel/sdk v1.47.0
)
