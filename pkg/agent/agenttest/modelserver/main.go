// Command modelserver runs the counterpart model of agenttest on a port, for
// trying the gateway by hand and for the recorded conversations.
//
// It prints the base URL to give as OPENAI_BASE_URL and serves until it is
// interrupted. It thinks nothing: it counts words.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

func main() {
	var opts agenttest.ModelOptions
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	flag.StringVar(&opts.ID, "model", agenttest.DefaultModelID, "id of the model")
	flag.IntVar(&opts.Tokens, "tokens", agenttest.DefaultTokens, "words in an answer")
	flag.DurationVar(&opts.Interval, "interval", agenttest.DefaultInterval, "pause between words")
	flag.IntVar(&opts.DropAfter, "drop-after", 0, "cut the connection after that many words")
	flag.IntVar(&opts.HangAfter, "hang-after", 0, "fall silent after that many words")
	flag.StringVar(&opts.APIKey, "api-key", "", "insist on this bearer token")
	flag.Func("refuse-models", "models that answer with HTTP 503, with commas between", func(names string) error {
		opts.RefuseModels = strings.Split(names, ",")
		return nil
	})
	flag.Parse()
	if err := serve(*addr, opts); err != nil {
		fmt.Fprintln(os.Stderr, "modelserver:", err)
		os.Exit(1)
	}
}

func serve(addr string, opts agenttest.ModelOptions) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/v1\n", listener.Addr())
	return agenttest.NewModel(opts).Serve(ctx, listener)
}
