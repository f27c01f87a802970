package natsin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/broker"
)

const (
	// pushEvery is how often a cluster is told the hosts' account again, for nodes
	// that were away.
	pushEvery = time.Minute
	// pushTimeout bounds the wait for the first node's answer, pushMore for the others'.
	pushTimeout = 5 * time.Second
	pushMore    = 250 * time.Millisecond
)

// ClusterOptions say how a broker that is not embedded is reached.
type ClusterOptions struct {
	// URLs are its nodes'.
	URLs []string
	// TLS is whom connections believe.
	TLS       *tls.Config
	Authority *broker.Authority
	Log       *slog.Logger
}

// Cluster is a broker that others run, with the configuration broker.Export wrote.
type Cluster struct {
	o      ClusterOptions
	log    *slog.Logger
	system *nats.Conn
}

// Join connects to a cluster and tells it the hosts' account. The caller closes it.
func Join(ctx context.Context, o ClusterOptions) (*Cluster, error) {
	c := &Cluster{o: o, log: o.Log.With("component", "broker")}
	var err error
	c.system, err = c.connect(broker.System, nats.ReconnectHandler(func(*nats.Conn) { c.push(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("join broker: %w", err)
	}
	o.Authority.OnPush(c.UpdateAccount)
	if err := o.Authority.Push(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("join broker: %w", err)
	}
	return c, nil
}

func (c *Cluster) connect(as broker.Account, more ...nats.Option) (*nats.Conn, error) {
	user, err := c.o.Authority.User(as)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(strings.Join(c.o.URLs, ","), append([]nats.Option{
		nats.Name("patchproof"), nats.MaxReconnects(-1), nats.Secure(c.o.TLS), nats.TLSHandshakeFirst(), nats.IgnoreDiscoveredServers(),
		nats.UserJWT(func() (string, error) { return user.JWT, nil }, user.Sign),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.log.Warn("broker away", "account", as, "err", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.log.Warn("broker refused", "account", as, "err", err)
		}),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(c.o.URLs, ","), err)
	}
	return nc, nil
}

// Connect returns the collector's own connection.
func (c *Cluster) Connect(more ...nats.Option) (*nats.Conn, error) {
	return c.connect(broker.Collector, more...)
}

// URL is where hosts connect: the nodes, with commas between.
func (c *Cluster) URL() string { return strings.Join(c.o.URLs, ",") }

// Run tells the cluster the hosts' account from time to time until ctx is done.
func (c *Cluster) Run(ctx context.Context) error {
	tick := time.NewTicker(pushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.push(ctx)
		}
	}
}

func (c *Cluster) push(ctx context.Context) {
	if err := c.o.Authority.Push(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("revocations not told", "err", err)
	}
}

// Check returns an error while no node is reached.
func (c *Cluster) Check() error {
	if !c.system.IsConnected() {
		return errors.New("no node of the broker is reached")
	}
	return nil
}

// Close ends the connection.
func (c *Cluster) Close() { c.system.Close() }

// UpdateAccount tells every node new claims of an account. It succeeds when one
// has taken them and none refused: nodes pass them on to each other.
func (c *Cluster) UpdateAccount(ctx context.Context, id, claims string) error {
	inbox := c.system.NewRespInbox()
	answers, err := c.system.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("update account %s: %w", id, err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	if err := c.system.PublishRequest("$SYS.REQ.ACCOUNT."+id+".CLAIMS.UPDATE", inbox, []byte(claims)); err != nil {
		return fmt.Errorf("update account %s: %w", id, err)
	}
	wait, taken := pushTimeout, 0
	for {
		one, cancel := context.WithTimeout(ctx, wait)
		m, err := answers.NextMsgWithContext(one)
		cancel()
		if err != nil {
			break
		}
		if err := refusal(m.Data); err != nil {
			return fmt.Errorf("update account %s: %w", id, err)
		}
		taken++
		wait = pushMore
	}
	if taken == 0 {
		return fmt.Errorf("update account %s: no node answered within %s", id, pushTimeout)
	}
	return nil
}

// refusal reads a node's answer.
func refusal(answer []byte) error {
	var a struct {
		Server struct {
			Name string `json:"name"`
		} `json:"server"`
		Data *struct {
			Code int `json:"code"`
		} `json:"data"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("answer of a node: %w", err)
	}
	if a.Error != nil {
		return fmt.Errorf("node %.80s refused: %.200s", a.Server.Name, a.Error.Description)
	}
	if a.Data == nil || a.Data.Code != 200 {
		return fmt.Errorf("node %.80s answered %.200q", a.Server.Name, answer)
	}
	return nil
}
