package gateway

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// testCertificate is enough for clients that check nothing.
func testCertificate(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"http/1.1"}}
}

// startTLS runs a gateway that speaks TLS.
func startTLS(t testing.TB, tune func(*Config)) *server {
	security := testCertificate(t)
	return start(t, func(c *Config) {
		c.TLS = security
		if tune != nil {
			tune(c)
		}
	})
}

// secure opens a TLS connection that has shaken hands.
func (s *server) secure(remote string, versions ...uint16) *tls.Conn {
	raw, err := s.l.dial(remote)
	require.NoError(s.t, err)
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	for _, v := range versions {
		cfg.MaxVersion = v
	}
	conn := tls.Client(raw, cfg)
	s.t.Cleanup(func() { _ = raw.Close() })
	require.NoError(s.t, conn.Handshake())
	return conn
}

func (s *server) secureAdmin(versions ...uint16) *peer {
	p := open(s.t, s.secure("127.0.0.1:50000", versions...)).resume()
	p.connect("operator.admin")
	return p
}

func TestTLSConversation(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			s := startTLS(t, nil)
			p := s.secureAdmin(version)
			require.True(t, s.guard.last.TLS)
			require.EqualValues(t, 50000, s.guard.last.RemoteAddr.Port(), "the address is the socket's")
			require.Equal(t, true, p.call("echo", kilobyte)["ok"])
			for i := range 200 {
				s.emit("agent", kilobyte)
				require.EqualValues(t, i+1, p.next()["seq"])
			}
			large := `"` + strings.Repeat("x", 1<<20) + `"`
			require.Equal(t, true, p.call("echo", large)["ok"], "longer than a chunk")
			require.NoError(t, s.stop(nil))
			require.Equal(t, "shutdown", p.next()["event"])
			require.Equal(t, ending{1012, "service restart"}, p.closed())
		})
	}
}

func TestTLSIsTheOnlyLanguageOfItsPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startTLS(t, nil)
		for _, request := range []string{"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", upgradeRequest} {
			conn, err := s.l.dial("192.0.2.1:1")
			require.NoError(t, err)
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = io.WriteString(conn, request) })
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			text, _ := io.ReadAll(res.Body)
			require.Equal(t, "this gateway speaks TLS: use https:// or wss://\n", string(text))
			_ = conn.Close()
			sending.Wait()
		}
		for _, garbage := range []string{"\x00\x01\x02", "{}", "SSH-2.0-x\r\n"} {
			conn, err := s.l.dial("192.0.2.1:1")
			require.NoError(t, err)
			go func() { _, _ = io.WriteString(conn, garbage) }()
			_, err = io.ReadAll(conn)
			require.NoError(t, err, "hung up on")
			_ = conn.Close()
		}
		synctest.Wait()
		s.g.floods.flush()
		require.Equal(t, 2, strings.Count(s.logs.String(), "plain connection to a port that speaks TLS"), "one line, and one for the other four: %s", s.logs.String())
		require.Contains(t, s.logs.String(), "count=4")
		require.Contains(t, s.logs.String(), "addr=192.0.2.1 count=1")
		s.g.admission.mu.Lock()
		defer s.g.admission.mu.Unlock()
		require.Zero(t, s.g.admission.total, "their places are free again")
	})
}

// TestTLSPlacesAreTakenBeforeItsHandshake: too many connections are closed without a
// single byte of cryptography.
func TestTLSPlacesAreTakenBeforeItsHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startTLS(t, func(c *Config) { c.Limits.HandshakesPerAddress = 2 })
		var held []net.Conn
		for i := range 2 {
			conn, err := s.l.dial(fmt.Sprintf("192.0.2.1:%d", i+1))
			require.NoError(t, err)
			held = append(held, conn)
		}
		conn, err := s.l.dial("192.0.2.1:3")
		require.NoError(t, err)
		require.True(t, refusedAtTheDoor(t, conn))
		require.NoError(t, held[0].Close())
		require.NoError(t, held[1].Close())
		synctest.Wait()
		for range 5 { // authenticated connections give their place back
			p := open(t, s.secure("192.0.2.1:9")).resume()
			p.connect("operator.admin")
		}
	})
}

// TestTLSSharesTheDeadlineOfTheHandshake: whatever the client spends its time on, it has
// ten seconds from accept.
func TestTLSSharesTheDeadlineOfTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startTLS(t, nil)
		silent, err := s.l.dial("192.0.2.1:1")
		require.NoError(t, err)
		begin := time.Now()
		_, _ = io.ReadAll(silent)
		require.LessOrEqual(t, time.Since(begin), 5*time.Second, "a client that never begins")

		begin = time.Now()
		raw, err := s.l.dial("192.0.2.1:1")
		require.NoError(t, err)
		time.Sleep(4 * time.Second)
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, conn.Handshake())
		time.Sleep(4 * time.Second)
		p := open(t, conn).resume()
		require.Equal(t, ending{1000, ""}, p.closed())
		require.Equal(t, 10*time.Second, time.Since(begin))

		// A connection that has served a request begins anew.
		conn = s.secure("192.0.2.1:2")
		br := bufio.NewReader(conn)
		_, err = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		time.Sleep(20 * time.Second)
		p = &peer{t: t, conn: conn, br: br, end: make(chan ending, 1)}
		_, err = io.WriteString(conn, upgradeRequest)
		require.NoError(t, err)
		_, err = http.ReadResponse(br, nil)
		require.NoError(t, err)
		p.resume().connect("operator.admin")
	})
}

// TestTLSSlowConsumer: tls.Conn never writes again after a deadline, so the stall rules
// hold below it.
func TestTLSSlowConsumer(t *testing.T) {
	pausedAdmin := func(s *server) *peer {
		p := open(s.t, s.secure("127.0.0.1:50000"))
		_, _, err := p.readFrame()
		require.NoError(s.t, err)
		p.send(connectFrame("operator", "operator.admin"))
		_, _, err = p.readFrame()
		require.NoError(s.t, err)
		return p
	}
	flood := func(t *testing.T) (*server, *peer) {
		s := startTLS(t, func(c *Config) { c.Limits.QueueBytes = 100_000 })
		p := pausedAdmin(s)
		synctest.Wait()
		for range 300 {
			s.emit("agent", kilobyte)
		}
		synctest.Wait()
		return s, p
	}
	synctest.Test(t, func(t *testing.T) {
		s, p := flood(t)
		time.Sleep(5 * time.Second)
		require.Equal(t, ending{1008, "slow consumer"}, p.resume().closed(), "told, when it reads again")
		synctest.Wait()
		require.Zero(t, s.g.queued.Load())
	})
	synctest.Test(t, func(t *testing.T) {
		s, _ := flood(t)
		time.Sleep(slowPatience*s.g.limits.CloseTimeout + time.Millisecond)
		synctest.Wait()
		open, _ := s.g.hub.count()
		require.Zero(t, open, "cut off, when it never reads")
		require.Zero(t, s.g.queued.Load())
	})
	synctest.Test(t, func(t *testing.T) {
		s := startTLS(t, nil)
		p := pausedAdmin(s)
		synctest.Wait()
		s.emit("chat", kilobyte)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		_, peers := s.g.hub.count()
		require.Zero(t, peers)
		require.Equal(t, ending{1008, "slow consumer"}, p.resume().closed(), "took nothing for the stall time")
	})
	// One that reads little by little keeps its connection.
	synctest.Test(t, func(t *testing.T) {
		s := startTLS(t, nil)
		p := pausedAdmin(s)
		large := `"` + strings.Repeat("x", 200_000) + `"`
		s.emit("chat", large)
		got := make([]byte, 1000)
		for total := 0; total < 200_000; {
			time.Sleep(300 * time.Millisecond) // a chunk takes longer than the stall time
			n, err := p.br.Read(got)
			require.NoError(t, err)
			total += n
		}
	})
}
