// Command service is a small HTTP service as people run it, to copy from: orders
// and their items in PostgreSQL through GORM, with seqheal, Prometheus metrics,
// OpenTelemetry, slog and the status page.
//
//	export DATABASE_URL=postgres://…
//	go run .           # serves on http://127.0.0.1:8080
//	go run . -demo     # the same, under load, with imports of explicit ids
//
// Its tables are in a schema of its own, seqheal_example, which it makes when it starts
// and drops when it ends. It touches nothing else in the database, and does not start
// where the schema exists. A second replica joins the first:
//
//	go run . -addr 127.0.0.1:8081 -replica
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// options are what the command line says.
type options struct {
	dsn, address          string
	demo, traces, replica bool
}

func main() {
	o := options{dsn: os.Getenv("DATABASE_URL")}
	flag.StringVar(&o.address, "addr", "127.0.0.1:8080", "where to listen")
	flag.BoolVar(&o.demo, "demo", false, "send orders, and drift the tables while they are served")
	flag.BoolVar(&o.traces, "traces", false, "write spans to standard error")
	flag.BoolVar(&o.replica, "replica", false, "join a service that runs: use its tables, leave the audit to it, drop nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the tidying up
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if err := run(ctx, log, o); err != nil {
		log.Error("the service ended", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and leaves nothing behind.
func run(ctx context.Context, log *slog.Logger, o options) (err error) {
	var exporters []sdktrace.TracerProviderOption
	if o.traces {
		exporter, err := stdouttrace.New(stdouttrace.WithWriter(os.Stderr))
		if err != nil {
			return err
		}
		exporters = append(exporters, sdktrace.WithBatcher(exporter))
	}
	tracing := sdktrace.NewTracerProvider(exporters...)
	defer func() { _ = tracing.Shutdown(context.WithoutCancel(ctx)) }()
	shop, err := openShop(ctx, log, o, tracing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close()) }()
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	at := "http://" + listener.Addr().String()
	log.Info("serving", "orders", at+"/orders", "metrics", at+"/metrics", "status", at+"/debug/seqheal/")

	// What runs beside the server ends with it.
	ctx, end := context.WithCancel(ctx)
	defer end()
	drifted := make(chan error, 1)
	if o.demo {
		go func() {
			defer end()
			drifted <- drift(ctx, shop.db, at)
		}()
	} else {
		drifted <- nil
	}
	audited := make(chan struct{})
	go func() {
		defer close(audited)
		shop.audits.Run(ctx)
	}()
	err = serve(ctx, listener, shop.handler())
	end()
	<-audited
	return errors.Join(err, <-drifted)
}

// shutdownTimeout is what requests under way have when the service ends.
const shutdownTimeout = 10 * time.Second

// serve answers until ctx ends, then lets the requests under way end.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		return fmt.Errorf("requests were cut off: %w", err)
	}
	return nil
}
