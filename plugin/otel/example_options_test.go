package otel_test

import (
	"fmt"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/seqheal/seqheal/plugin"
	seqotel "github.com/seqheal/seqheal/plugin/otel"
)

// Without an auditor: an event on the span of each insert that met drift, and metrics about
// incidents.
func ExampleNew() {
	telemetry, err := seqotel.New(nil)
	if err != nil {
		panic(err)
	}
	healing := plugin.New(plugin.OnIncident(telemetry.OnIncident))
	fmt.Println(healing.Name())
	// Output: seqheal
}

// A provider of the application's own instead of the global one.
func ExampleWithMeterProvider() {
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	_, err := seqotel.New(nil, seqotel.WithMeterProvider(provider))
	fmt.Println(err)
	// Output: <nil>
}

// Two databases whose tables have equal names, in one backend.
func ExampleDatabase() {
	for _, name := range []string{"shop", "archive"} {
		if _, err := seqotel.New(nil, seqotel.Database(name)); err != nil {
			panic(err)
		}
	}
	// Output:
}
