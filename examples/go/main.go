// Tokenizes two values, rehydrates their tokens, and handles an error. Needs the standard library only.
//
//	MASKER_SOCKET=/run/masker/masker.sock go run .
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Item is one value to tokenize.
type Item struct {
	Kind    string `json:"kind"`
	Value   string `json:"value"`
	Context string `json:"context,omitempty"`
}

// ItemError says why one item failed.
type ItemError struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Result is the result of one item. Error is nil if the item succeeded.
type Result struct {
	Token    string     `json:"token"`
	Redacted string     `json:"redacted"`
	Value    string     `json:"value"`
	Kind     string     `json:"kind"`
	Error    *ItemError `json:"error"`
}

// Problem is a request that failed as a whole.
type Problem struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
}

func (p *Problem) Error() string {
	return fmt.Sprintf("%s: %s (request %s)", p.Code, p.Detail, p.RequestID)
}

// Client is safe for concurrent use.
type Client struct {
	http http.Client
}

// NewClient returns a client of the daemon that listens on a socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 4},
	}}
}

// Tokenize returns one result for each item, in order.
func (c *Client) Tokenize(ctx context.Context, items []Item) ([]Result, error) {
	return c.post(ctx, "tokenize", map[string]any{"items": items}, len(items))
}

// Rehydrate returns one result for each token, in order.
func (c *Client) Rehydrate(ctx context.Context, tokens []string) ([]Result, error) {
	return c.post(ctx, "rehydrate", map[string]any{"tokens": tokens}, len(tokens))
}

// post sends a request whose repetition does no harm.
func (c *Client) post(ctx context.Context, operation string, body any, items int) ([]Result, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://masker/api/v1/"+operation, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	// Lets net/http repeat the request over a new connection if the daemon closed this one. A nil value sends no header.
	request.Header["Idempotency-Key"] = nil
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode != http.StatusOK {
		problem := &Problem{Status: response.StatusCode}
		if err := decoder.Decode(problem); err != nil {
			return nil, fmt.Errorf("status %d without a problem document: %w", response.StatusCode, err)
		}
		return nil, problem
	}
	var answer struct {
		Results []Result `json:"results"`
	}
	if err := decoder.Decode(&answer); err != nil {
		return nil, err
	}
	if len(answer.Results) != items {
		return nil, fmt.Errorf("%d results for %d items", len(answer.Results), items)
	}
	return answer.Results, nil
}

func run() error {
	socket := os.Getenv("MASKER_SOCKET")
	if socket == "" {
		return errors.New("MASKER_SOCKET is not set")
	}
	ctx := context.Background()
	masker := NewClient(socket)

	items := []Item{{Kind: "PHONE", Value: "415-555-0132"}, {Kind: "EMAIL", Value: "ann@example.org"}}
	results, err := masker.Tokenize(ctx, items)
	if err != nil {
		return err
	}
	var tokens []string
	for i, result := range results {
		if result.Error != nil {
			return fmt.Errorf("item %d: %s", i, result.Error.Code)
		}
		fmt.Printf("tokenized %s: %s\n", items[i].Kind, result.Token)
		tokens = append(tokens, result.Token)
	}

	// The values come back byte for byte.
	results, err = masker.Rehydrate(ctx, tokens)
	if err != nil {
		return err
	}
	for i, result := range results {
		if result.Error != nil {
			return fmt.Errorf("token %d: %s", i, result.Error.Code)
		}
		fmt.Printf("rehydrated %s: %s\n", result.Kind, result.Value)
	}

	// An item can fail on its own; the others have their results.
	results, err = masker.Tokenize(ctx, []Item{items[0], {Kind: "SHOE_SIZE", Value: "42"}})
	if err != nil {
		return err
	}
	good, bad := results[0], results[1]
	if good.Error != nil || bad.Error == nil || bad.Error.Code != "kind.unknown" {
		return errors.New("only the value of an unknown kind should have failed")
	}
	fmt.Printf("the same value has the same token: %t\n", good.Token == tokens[0])
	fmt.Printf("the other item failed: %s\n", bad.Error.Code)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}
