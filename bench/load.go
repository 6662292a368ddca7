package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httputil"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// ioTimeout limits one exchange of a load generator. A server that hangs ends the measurement.
const ioTimeout = 30 * time.Second

// conn is a kept-alive HTTP connection for requests that are already encoded. It costs a fraction of net/http's client,
// which would add to both sides of a comparison and so move their ratio toward one.
type conn struct {
	net.Conn
	in   *bufio.Reader
	body []byte
}

// dial opens n connections.
func dial(addr string, n int) (conns []*conn, err error) {
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			hangUp(conns)
			return nil, err
		}
		conns = append(conns, &conn{Conn: c, in: bufio.NewReaderSize(c, 64<<10)})
	}
	return conns, nil
}

func hangUp(conns []*conn) {
	for _, c := range conns {
		c.Close()
	}
}

// do sends a request and returns the body of the response, which is valid until the next call. A status other than 200
// is an error.
func (c *conn) do(request []byte) ([]byte, error) {
	c.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	good := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	line := string(status)
	length, chunked := 0, false
	for {
		header, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		name, value, more := bytes.Cut(bytes.TrimRight(header, "\r\n"), []byte(": "))
		if !more {
			break
		}
		switch string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case "Transfer-Encoding":
			chunked = true
		}
	}
	if chunked {
		c.body, err = c.chunks(c.body[:0])
	} else {
		c.body = append(c.body[:0], make([]byte, length)...)
		_, err = io.ReadFull(c.in, c.body)
	}
	if err == nil && !good {
		err = fmt.Errorf("%s: %s", bytes.TrimSpace([]byte(line)), c.body)
	}
	return c.body, err
}

// chunks reads a chunked body, including the empty line after the last chunk.
func (c *conn) chunks(dst []byte) ([]byte, error) {
	body := bytes.NewBuffer(dst)
	if _, err := body.ReadFrom(httputil.NewChunkedReader(c.in)); err != nil {
		return nil, err
	}
	_, err := c.in.ReadSlice('\n')
	return body.Bytes(), err
}

// send sends each request once, over any free connection, and returns the total time.
func send(conns []*conn, requests [][]byte) (time.Duration, error) {
	var next atomic.Int64
	var g errgroup.Group
	start := time.Now()
	for _, c := range conns {
		g.Go(func() error {
			for {
				k := int(next.Add(1)) - 1
				if k >= len(requests) {
					return nil
				}
				if _, err := c.do(requests[k]); err != nil {
					return err
				}
			}
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// The number of outstanding datagrams: enough that the server never waits, and few enough for its socket's buffer.
const (
	flooders = 2
	window   = 32 // per socket
	lostFor  = 200 * time.Millisecond
)

// flood keeps a UDP server busy until it has answered n queries, chosen at random.
func flood(addr string, queries [][]byte, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	var g errgroup.Group
	for range flooders {
		g.Go(func() error {
			c, err := net.Dial("udp", addr)
			if err != nil {
				return err
			}
			defer c.Close()
			return pump(c, queries, &left)
		})
	}
	return g.Wait()
}

// pump keeps a window of outstanding queries on one socket. Queries without a timely answer count as lost and are
// replaced.
func pump(c net.Conn, queries [][]byte, left *atomic.Int64) error {
	buf := make([]byte, 4096)
	rnd := rand.New(rand.NewPCG(1, 2))
	fill, lost := window, 0
	for left.Load() > 0 {
		for range fill {
			if _, err := c.Write(queries[rnd.IntN(len(queries))]); err != nil {
				return err
			}
		}
		c.SetReadDeadline(time.Now().Add(lostFor))
		_, err := c.Read(buf)
		switch {
		case err == nil:
			left.Add(-1)
			fill, lost = 1, 0
		case errors.Is(err, os.ErrDeadlineExceeded):
			if lost++; time.Duration(lost)*lostFor > ioTimeout {
				return fmt.Errorf("%s does not answer", c.RemoteAddr())
			}
			fill = window
		default:
			return err
		}
	}
	return nil
}
