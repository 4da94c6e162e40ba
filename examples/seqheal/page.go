package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin/status"
)

// page serves the page of package status until it is interrupted. It has no button that
// moves sequences, because it has no login.
func (s *session) page(ctx context.Context, db *gorm.DB) (int, error) {
	if err := s.matched(ctx, db); err != nil {
		return failure, err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return failure, err
	}
	if _, err := fmt.Fprintf(s.out, "%s\nserving http://%s/ until Ctrl-C\n", s.server, listener.Addr()); err != nil {
		return failure, err
	}
	server := &http.Server{
		Handler: status.Handler(nil, db, status.WithAudit(s.auditOptions()...)), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(s.diagnostics, "seqheal: ", 0),
	}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		patience, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		stopped <- server.Shutdown(patience)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return failure, err
	}
	<-stopped // an open request is cut off after the second
	return allInSync, nil
}

// matched looks once when tables are named, and returns an error for each name that
// matches nothing.
func (s *session) matched(ctx context.Context, db *gorm.DB) error {
	if len(s.selection.tables)+len(s.selection.excluded) == 0 {
		return nil
	}
	if _, err := s.look(ctx, db); err != nil {
		return err
	}
	return s.selection.unmatched(ctx, db)
}
