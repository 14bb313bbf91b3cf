// JetStream's file storage, written as fast as a client can: batches of messages, each acknowledged by the server.
//
// The first word says what to do: "append" or "read"; the rest is the order as JSON. It prints one line of JSON with what it did.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type order struct {
	URL     string `json:"url"`
	Records int    `json:"records"`
	Size    int    `json:"size"`
	// Messages that may wait for their acknowledgement at once.
	Pending int `json:"pending"`
}

type answer struct {
	Records int     `json:"records"`
	Seconds float64 `json:"seconds"`
}

func main() {
	done, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(done)
}

func run(what, text string) (answer, error) {
	var order order
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		return answer{}, err
	}
	connection, err := nats.Connect(order.URL)
	if err != nil {
		return answer{}, err
	}
	defer connection.Close()
	stream, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(order.Pending))
	if err != nil {
		return answer{}, err
	}
	limit, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	switch what {
	case "append":
		return appendAll(limit, stream, order)
	case "read":
		return readAll(limit, stream, order)
	}
	return answer{}, errors.New("what is " + what + "?")
}

// appendAll is done when every message is acknowledged, and checks that the stream says so too.
func appendAll(limit context.Context, js jetstream.JetStream, order order) (answer, error) {
	stream, err := js.CreateOrUpdateStream(limit, jetstream.StreamConfig{
		Name: "bench", Subjects: []string{"bench"}, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return answer{}, err
	}
	if err := stream.Purge(limit); err != nil {
		return answer{}, err
	}
	content := make([]byte, order.Size)
	start := time.Now()
	for number := range order.Records {
		copy(content, fmt.Sprintf("%020d ", number))
		if _, err := js.PublishAsync("bench", content, jetstream.WithStallWait(time.Minute)); err != nil {
			return answer{}, err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-limit.Done():
		return answer{}, limit.Err()
	}
	took := time.Since(start)
	info, err := stream.Info(limit)
	if err != nil {
		return answer{}, err
	}
	if info.State.Msgs != uint64(order.Records) {
		return answer{}, fmt.Errorf("the stream holds %d of %d", info.State.Msgs, order.Records)
	}
	return answer{Records: order.Records, Seconds: took.Seconds()}, nil
}

// readAll reads what appendAll left, in order, and checks each number.
func readAll(limit context.Context, js jetstream.JetStream, order order) (answer, error) {
	start := time.Now()
	consumer, err := js.OrderedConsumer(limit, "bench", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return answer{}, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(10_000))
	if err != nil {
		return answer{}, err
	}
	defer messages.Stop()
	for number := range order.Records {
		message, err := messages.Next()
		if err != nil {
			return answer{}, err
		}
		if string(message.Data()[:20]) != fmt.Sprintf("%020d", number) {
			return answer{}, fmt.Errorf("message %d is %q", number, message.Data()[:20])
		}
	}
	return answer{Records: order.Records, Seconds: time.Since(start).Seconds()}, nil
}
