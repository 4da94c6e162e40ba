package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	"github.com/seqheal/seqheal/plugin/metrics"
	seqotel "github.com/seqheal/seqheal/plugin/otel"
	"github.com/seqheal/seqheal/plugin/status"
)

// Order is what a customer orders. GORM stores its items with ON CONFLICT, so that
// without the plugin a drifted sequence would give them to somebody else's order.
type Order struct {
	ID        int64     `json:"id"`
	Customer  string    `json:"customer"`
	CreatedAt time.Time `json:"created_at"`
	Items     []Item    `json:"items" gorm:"constraint:OnDelete:CASCADE"`
}

// Item is one line of an order.
type Item struct {
	ID       int64  `json:"id"`
	OrderID  int64  `json:"-" gorm:"index;not null"`
	Product  string `json:"product"`
	Quantity int    `json:"quantity"`
}

// shop is the service.
type shop struct {
	log     *slog.Logger
	pool    *sql.DB
	db      *gorm.DB
	healing *plugin.Plugin
	audits  *auditor.Auditor
	metrics *prometheus.Registry
	tracer  trace.Tracer
	created bool // the schema is this process's
}

func openShop(ctx context.Context, log *slog.Logger, o options, tracing trace.TracerProvider) (*shop, error) {
	pool, err := openPool(o.dsn)
	if err != nil {
		return nil, err
	}
	s := &shop{log: log, pool: pool, metrics: prometheus.NewRegistry(), tracer: tracing.Tracer("service")}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *shop) open(ctx context.Context, o options) (err error) {
	if s.db, err = openGORM(s.pool, s.log); err != nil {
		return err
	}
	if err := s.watch(o.replica); err != nil || o.replica {
		return err
	}
	if err := createSchema(ctx, s.pool); err != nil {
		return err
	}
	s.created = true
	return s.db.WithContext(ctx).AutoMigrate(&Order{}, &Item{})
}

// watch registers the plugin, and what tells of it. One replica audits: the sequences
// are the same for all.
func (s *shop) watch(replica bool) error {
	s.audits = auditor.New(s.db, auditor.Every(15*time.Second), auditor.With(plugin.InSchemas(schema)),
		auditor.If(func(context.Context) bool { return !replica }))
	collector := metrics.New(s.audits)
	telemetry, err := seqotel.New(nil) // for the events on spans; the metrics are Prometheus'
	if err != nil {
		return err
	}
	s.healing = plugin.New(
		plugin.WithLogger(s.log),
		plugin.OnIncident(collector.OnIncident),
		plugin.OnIncident(telemetry.OnIncident),
	)
	s.metrics.MustRegister(collector, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s.db.Use(s.healing)
}

// close logs what the log's summary still holds back, drops what open made and closes
// the pool.
func (s *shop) close() (err error) {
	if s.healing != nil {
		s.healing.Flush()
	}
	if s.created {
		err = dropSchema(s.pool)
	}
	return errors.Join(err, s.pool.Close())
}

func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.createOrder)
	mux.HandleFunc("GET /orders/{id}", s.readOrder)
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	// In an application of yours, behind what guards its other pages of this kind.
	mux.Handle("/debug/seqheal/", status.Handler(s.healing, s.db,
		status.AllowResync(), status.WithAudit(plugin.InSchemas(schema))))
	return s.traced(mux)
}

// traced gives each request a span, on which incidents leave an event.
func (s *shop) traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := s.tracer.Start(r.Context(), r.Method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		r = r.WithContext(ctx)
		next.ServeHTTP(w, r)
		span.SetName(r.Pattern) // the mux has set it: /orders/{id}, not each id
	})
}

func (s *shop) createOrder(w http.ResponseWriter, r *http.Request) {
	var order Order
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	if err := decoder.Decode(&order); err != nil {
		s.fail(w, r, http.StatusBadRequest, err)
		return
	}
	if order.Customer == "" || len(order.Items) == 0 {
		s.fail(w, r, http.StatusBadRequest, errors.New("an order needs a customer and items"))
		return
	}
	order.ID, order.CreatedAt = 0, time.Time{} // the database's and GORM's to give
	for i := range order.Items {
		order.Items[i].ID = 0
	}
	if err := s.db.WithContext(r.Context()).Create(&order).Error; err != nil {
		s.fail(w, r, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Location", "/orders/"+strconv.FormatInt(order.ID, 10))
	s.answer(w, r, http.StatusCreated, order)
}

func (s *shop) readOrder(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		s.fail(w, r, http.StatusNotFound, err)
		return
	}
	var order Order
	err = s.db.WithContext(r.Context()).Preload("Items", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).First(&order, id).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		s.fail(w, r, http.StatusNotFound, err)
	case err != nil:
		s.fail(w, r, http.StatusInternalServerError, err)
	default:
		s.answer(w, r, http.StatusOK, order)
	}
}

func (s *shop) health(w http.ResponseWriter, r *http.Request) {
	if err := s.pool.PingContext(r.Context()); err != nil {
		s.fail(w, r, http.StatusServiceUnavailable, err)
		return
	}
	s.answer(w, r, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *shop) answer(w http.ResponseWriter, r *http.Request, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		s.log.WarnContext(r.Context(), "the client went away", "error", err)
	}
}

// fail tells the client what it did wrong, and the log what we did.
func (s *shop) fail(w http.ResponseWriter, r *http.Request, code int, err error) {
	text := err.Error()
	if code >= http.StatusInternalServerError {
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		text = http.StatusText(code)
	}
	s.answer(w, r, code, map[string]string{"error": text})
}
