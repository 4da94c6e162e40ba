package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"gorm.io/gorm"
)

// Imports as they come along: rows with explicit ids in front of what the sequence
// gave last, which does not move. Orders bring two items each.
const (
	importOrders = `INSERT INTO orders (id, customer, created_at)
		SELECT s.last_value + g, 'import', now() FROM orders_id_seq s, generate_series(1, ?) g ON CONFLICT DO NOTHING`
	importItems = `INSERT INTO items (id, order_id, product, quantity)
		SELECT s.last_value + g, (SELECT max(id) FROM orders WHERE customer = 'import'), 'import', g
		FROM items_id_seq s, generate_series(1, ?) g ON CONFLICT DO NOTHING`
)

// importRows drifts both tables.
func importRows(ctx context.Context, db *gorm.DB, rows int) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return errors.Join(tx.Exec(importOrders, rows).Error, tx.Exec(importItems, 2*rows).Error)
	})
}

// drift sends orders to the service at an address, and imports rows meanwhile, until
// ctx ends. An order that is under way then is served to its end.
func drift(ctx context.Context, db *gorm.DB, at string) error {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		if n%50 == 0 {
			if err := importRows(ctx, db, 5+n%20); err != nil && ctx.Err() == nil {
				return err
			}
		}
		order := Order{Customer: fmt.Sprintf("customer %d", n), Items: []Item{{Product: "tea", Quantity: 1}, {Product: "cup", Quantity: 2}}}
		if _, err := sendOrder(context.WithoutCancel(ctx), http.DefaultClient, at, order); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// sendOrder orders, and returns the order as the service stored it.
func sendOrder(ctx context.Context, client *http.Client, at string, order Order) (stored Order, err error) {
	body, err := json.Marshal(order)
	if err != nil {
		return stored, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/orders", bytes.NewReader(body))
	if err != nil {
		return stored, err
	}
	response, err := client.Do(request)
	if err != nil {
		return stored, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return stored, err
	}
	if response.StatusCode != http.StatusCreated {
		return stored, fmt.Errorf("%s: %s", response.Status, text)
	}
	return stored, json.Unmarshal(text, &stored)
}
