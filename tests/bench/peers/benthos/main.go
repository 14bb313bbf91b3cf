// A pipeline of the benthos engine with the same shape as Ferrule's: a source that makes records, steps, and a sink that counts.
//
// It answers each line on standard input with what has arrived at the sink, and ends when standard input does.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// What the sink has: counted at the far end.
var records, payload, wrong atomic.Uint64

// source makes batches of records. One piece of memory serves a batch, so that it costs the engine as little as may be.
type source struct {
	batch, size int
	json        bool
	next        uint64
	filling     []byte
}

func (s *source) Connect(context.Context) error { return nil }
func (s *source) Close(context.Context) error   { return nil }

func (s *source) ReadBatch(context.Context) (service.MessageBatch, service.AckFunc, error) {
	slab := make([]byte, 0, s.batch*(s.size+32))
	batch := make(service.MessageBatch, 0, s.batch)
	for range s.batch {
		start := len(slab)
		tail := ""
		if s.json {
			value := mix(s.next) % 10_000
			slab = fmt.Appendf(slab, `{"sequence":%d,"value":%d.%02d,"filling":"`, s.next, value/100, value%100)
			tail = `"}`
		} else {
			slab = appendNumber(slab, s.next)
		}
		if room := s.size - (len(slab) - start) - len(tail); room > 0 {
			slab = append(slab, s.filling[:room]...)
		}
		slab = append(slab, tail...)
		batch = append(batch, service.NewMessage(slab[start:len(slab):len(slab)]))
		s.next++
	}
	return batch, func(context.Context, error) error { return nil }, nil
}

// appendNumber writes the number in 20 digits and a space.
func appendNumber(to []byte, number uint64) []byte {
	var digits [21]byte
	digits[20] = ' '
	for place := 19; place >= 0; place-- {
		digits[place] = byte('0' + number%10)
		number /= 10
	}
	return append(to, digits[:]...)
}

func mix(number uint64) uint64 {
	z := (number + 1) * 0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// sink counts what arrives, and looks whether the last edit was done.
type sink struct{ expect []byte }

func (s *sink) Connect(context.Context) error { return nil }
func (s *sink) Close(context.Context) error   { return nil }

func (s *sink) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	size := 0
	for index, message := range batch {
		content, err := message.AsBytes()
		if err != nil {
			return err
		}
		size += len(content)
		if index == 0 && !bytes.Contains(content, s.expect) {
			wrong.Add(1)
		}
	}
	payload.Add(uint64(size))
	records.Add(uint64(len(batch)))
	return nil
}

type order struct {
	Batch  int      `json:"batch"`
	Size   int      `json:"size"`
	JSON   bool     `json:"json"`
	Expect string   `json:"expect"`
	Steps  []string `json:"steps"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var order order
	if err := json.Unmarshal([]byte(os.Args[1]), &order); err != nil {
		return err
	}
	environment := service.NewEnvironment()
	err := environment.RegisterBatchInput("bench_source", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
			filling := make([]byte, order.Size)
			for at := range filling {
				filling[at] = 'a' + byte(mix(uint64(at))%26)
			}
			return &source{batch: order.Batch, size: order.Size, json: order.JSON, filling: filling}, nil
		})
	if err != nil {
		return err
	}
	err = environment.RegisterBatchOutput("bench_sink", service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return &sink{expect: []byte(order.Expect)}, service.BatchPolicy{}, 1, nil
		})
	if err != nil {
		return err
	}
	builder := environment.NewStreamBuilder()
	if err := builder.SetLoggerYAML("level: ERROR"); err != nil {
		return err
	}
	if err := builder.AddInputYAML("bench_source: {}"); err != nil {
		return err
	}
	for _, step := range order.Steps {
		quoted, err := json.Marshal(step)
		if err != nil {
			return err
		}
		if err := builder.AddProcessorYAML("mapping: " + string(quoted)); err != nil {
			return err
		}
	}
	if err := builder.AddOutputYAML("bench_sink: {}"); err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	go func() {
		if err := stream.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Printf("{\"records\":%d,\"bytes\":%d,\"wrong\":%d}\n", records.Load(), payload.Load(), wrong.Load())
	}
	return lines.Err()
}
