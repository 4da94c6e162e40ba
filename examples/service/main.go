// Command service is a small HTTP service as people run it, to copy from: orders
// and their items in PostgreSQL through GORM, with seqheal, Prometheus metrics,
// OpenTelemetry, slog and the status page.
//
//	go run .           # serves on http://127.0.0.1:8080
//	go run . -demo     # the same, under load, with imports of explicit ids
//
// It starts a throwaway PostgreSQL, or uses the one that SEQHEAL_DSN names.
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

	"github.com/seqheal/seqheal/internal/pgserver"
)

func main() {
	address := flag.String("addr", "127.0.0.1:8080", "where to listen")
	demo := flag.Bool("demo", false, "send orders, and drift the tables while they are served")
	traces := flag.Bool("traces", false, "write spans to standard error")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the tidying up
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	if err := run(ctx, log, *address, *demo, *traces); err != nil {
		log.Error("the service ended", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and leaves nothing behind.
func run(ctx context.Context, log *slog.Logger, address string, demo, traces bool) error {
	server, err := pgserver.Start()
	if err != nil {
		return err
	}
	defer server.Stop()
	var exporters []sdktrace.TracerProviderOption
	if traces {
		exporter, err := stdouttrace.New(stdouttrace.WithWriter(os.Stderr))
		if err != nil {
			return err
		}
		exporters = append(exporters, sdktrace.WithBatcher(exporter))
	}
	tracing := sdktrace.NewTracerProvider(exporters...)
	defer func() { _ = tracing.Shutdown(context.WithoutCancel(ctx)) }()
	shop, err := openShop(ctx, log, server.DSN(), tracing)
	if err != nil {
		return err
	}
	defer shop.close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	at := "http://" + listener.Addr().String()
	log.Info("serving", "orders", at+"/orders", "metrics", at+"/metrics", "status", at+"/debug/seqheal/")
	if !demo {
		return serve(ctx, listener, shop.handler())
	}
	ctx, end := context.WithCancel(ctx) // either one's end is the other's
	defer end()
	ended := make(chan error, 1)
	go func() {
		defer end()
		ended <- drift(ctx, shop.db, at)
	}()
	err = serve(ctx, listener, shop.handler())
	end()
	return errors.Join(err, <-ended)
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
