package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wg-bond/wg-bond/cmd/internal/metrics/at"
	"github.com/wg-bond/wg-bond/cmd/internal/status"
)

func example() (*status.Interface, error) {
	return &status.Interface{
		Name: "wg0", Role: "serve", Scheduler: "earliest", PublicKey: "SERVER", PlainClients: 3,
		Handshakes: map[string]uint64{"confirmed": 4}, Drops: map[string]uint64{"malformed": 5}, Discards: map[string]uint64{"handshake-copy": 6},
		Peers: []status.Peer{
			{PublicKey: "PLAIN"},
			{PublicKey: "CLIENT", Bond: &status.Bond{
				Bonded: true, Queue: 7, Sent: 8, Drops: map[string]uint64{"codel": 9}, Discards: map[string]uint64{"pong-stale": 10},
				Paths: []status.Path{
					{Name: "0", State: "active", RTT: .061, TxBytes: 11, Plan: &status.Plan{Use: true, Cost: .5}},
					{Name: "1", State: "dead", Relay: "10.9.0.2:51900"},
				},
			}},
		},
	}, nil
}

func address(t *testing.T, text string) at.Address {
	t.Helper()
	a, err := at.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// scrape serves the collectors on a Unix socket and asks once.
func scrape(t *testing.T, all ...prometheus.Collector) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metrics")
	s, err := Serve(address(t, "unix:"+path), all...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	answer, err := client.Get("http://wg-bond/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", answer.Status, err, body)
	}
	return string(body)
}

func TestScrape(t *testing.T) {
	got := scrape(t, NewBond("wg0", example))
	for _, want := range []string{
		`wgbond_up{interface="wg0"} 1`,
		`wgbond_info{interface="wg0",public_key="SERVER",role="serve",scheduler="earliest"} 1`,
		`wgbond_plain_clients{interface="wg0"} 3`,
		`wgbond_handshakes_total{interface="wg0",outcome="confirmed"} 4`,
		`wgbond_dropped_datagrams_total{harmless="false",interface="wg0",reason="malformed"} 5`,
		`wgbond_dropped_datagrams_total{harmless="true",interface="wg0",reason="handshake-copy"} 6`,
		`wgbond_peer_bonded{interface="wg0",peer="CLIENT"} 1`,
		`wgbond_peer_queue_bytes{interface="wg0",peer="CLIENT"} 7`,
		`wgbond_peer_sent_datagrams_total{interface="wg0",peer="CLIENT"} 8`,
		`wgbond_peer_dropped_datagrams_total{harmless="false",interface="wg0",peer="CLIENT",reason="codel"} 9`,
		`wgbond_peer_dropped_datagrams_total{harmless="true",interface="wg0",peer="CLIENT",reason="pong-stale"} 10`,
		`wgbond_path_info{device="",interface="wg0",path="1",peer="CLIENT",relay="10.9.0.2:51900",state="dead"} 1`,
		`wgbond_path_active{interface="wg0",path="0",peer="CLIENT"} 1`,
		`wgbond_path_active{interface="wg0",path="1",peer="CLIENT"} 0`,
		`wgbond_path_rtt_seconds{interface="wg0",path="0",peer="CLIENT"} 0.061`,
		`wgbond_path_transmit_bytes_total{interface="wg0",path="0",peer="CLIENT"} 11`,
		`wgbond_path_cost_seconds{interface="wg0",path="0",peer="CLIENT"} 0.5`,
		`wgbond_path_cost_seconds{interface="wg0",path="1",peer="CLIENT"} 0`,
		"# TYPE wgbond_path_transmit_bytes_total counter", "process_cpu_seconds_total ", "go_goroutines ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "PLAIN") {
		t.Error("metrics of a peer without a bond")
	}
	got = scrape(t, NewBond("wg0", func() (*status.Interface, error) { return nil, errors.New("away") }))
	if !strings.Contains(got, `wgbond_up{interface="wg0"} 0`) || strings.Contains(got, "wgbond_info{") {
		t.Errorf("of an interface that does not answer:\n%s", got)
	}
}

// TestServe: off unless asked for; what an ended program left is replaced, what
// is served by another is not.
func TestServe(t *testing.T) {
	if s, err := Serve(at.Address{}); s != nil || err != nil || s.Close() != nil {
		t.Errorf("nowhere: %v, %v", s, err)
	}
	path := filepath.Join(t.TempDir(), "metrics")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	first, err := Serve(address(t, "unix:"+path))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if s, err := Serve(address(t, "unix:"+path)); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("twice: %v, %v", s, err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
}
