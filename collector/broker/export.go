package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"github.com/patchproof/patchproof/collector/trust"
)

// Default ports of a node.
const (
	DefaultPort      = 4222
	DefaultRoutePort = 6222
)

// Node is one server of a cluster of our own.
type Node struct {
	// Host is the name or address by which hosts and other nodes reach it.
	Host string
	// Port is for hosts, RoutePort for the other nodes.
	Port, RoutePort int
}

// nodeHost is a DNS name or an IPv4 address: it becomes a directory and a word of
// a configuration.
var nodeHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// ParseNode reads HOST, HOST:PORT or HOST:PORT:ROUTEPORT.
func ParseNode(s string) (Node, error) {
	parts := strings.Split(s, ":")
	n := Node{Host: parts[0], Port: DefaultPort, RoutePort: DefaultRoutePort}
	if !nodeHost.MatchString(n.Host) || len(parts) > 3 {
		return Node{}, fmt.Errorf("node %.80q: want HOST, HOST:PORT or HOST:PORT:ROUTEPORT", s)
	}
	for i, to := range []*int{&n.Port, &n.RoutePort} {
		if len(parts) <= i+1 {
			break
		}
		port, err := strconv.Atoi(parts[i+1])
		if err != nil || port < 1 || port > 65535 {
			return Node{}, fmt.Errorf("node %.80q: port %q must be a number from 1 to 65535", s, parts[i+1])
		}
		*to = port
	}
	return n, nil
}

// Name is the node's, unlike any other's of its cluster.
func (n Node) Name() string { return fmt.Sprintf("%s-%d", n.Host, n.Port) }

// URL is where hosts reach it.
func (n Node) URL() string { return "tls://" + net.JoinHostPort(n.Host, strconv.Itoa(n.Port)) }

// Export is a configuration for servers that are not ours to run.
type Export struct {
	// Dir gets a directory for each node. It must not be there.
	Dir   string
	Nodes []Node
	// Certificate issues what a node shows, with its key, both PEM. Nil leaves
	// server.pem and server.key to the operator.
	Certificate func(host string) (cert, key []byte, err error)
	// CA is the authority that hosts and nodes believe, PEM.
	CA []byte
	// MaxStore bounds the streams of a node on disk, in bytes.
	MaxStore int64
}

// Files of a node's directory.
const (
	nodeConfig = "nats-server.conf"
	nodeCert   = "server.pem"
	nodeKey    = "server.key"
	nodeCA     = "ca.pem"
)

// Export writes what nats-server needs to be the broker: the operator's claims,
// the accounts', TLS, and how the nodes find each other. No seed of the authority
// is in it.
func (a *Authority) Export(e Export) error {
	if len(e.Nodes) == 0 {
		return errors.New("export broker configuration: no node is named")
	}
	seen := map[string]bool{}
	for _, n := range e.Nodes {
		if seen[n.Name()] {
			return fmt.Errorf("export broker configuration: node %s is named twice", n.Name())
		}
		seen[n.Name()] = true
	}
	if err := os.MkdirAll(filepath.Dir(e.Dir), 0o700); err != nil {
		return fmt.Errorf("export broker configuration: %w", err)
	}
	if err := os.Mkdir(e.Dir, 0o700); err != nil {
		return fmt.Errorf("export broker configuration: %w", err)
	}
	for _, n := range e.Nodes {
		if err := a.exportNode(e, n); err != nil {
			return fmt.Errorf("export broker configuration of %s: %w", n.Name(), err)
		}
	}
	if err := trust.CreatePrivate(filepath.Join(e.Dir, "README"), []byte(exportReadme)); err != nil {
		return fmt.Errorf("export broker configuration: %w", err)
	}
	return nil
}

func (a *Authority) exportNode(e Export, n Node) error {
	dir := filepath.Join(e.Dir, n.Name())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	files := map[string][]byte{operatorName + claimsExt: []byte(a.operatorJWT), nodeCA: e.CA}
	var err error
	if files[nodeConfig], err = a.nodeConfig(e, n); err != nil {
		return err
	}
	if e.Certificate != nil {
		if files[nodeCert], files[nodeKey], err = e.Certificate(n.Host); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := trust.CreatePrivate(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

func (a *Authority) nodeConfig(e Export, n Node) ([]byte, error) {
	v := struct {
		Node
		MaxMessage, MaxPending, MaxStore int64
		System                           string
		Accounts                         []exported
		Others                           []Node
		Operator                         string
		Cert, Key, CA                    string
	}{
		Node: n, MaxMessage: MaxMessage, MaxPending: 4 * MaxMessage, MaxStore: e.MaxStore, System: a.ID(System),
		Operator: operatorName + claimsExt, Cert: nodeCert, Key: nodeKey, CA: nodeCA,
	}
	for _, name := range []Account{System, Collector, Hosts} { // guests are for loopback
		v.Accounts = append(v.Accounts, exported{name, a.ID(name), a.AccountJWT(name)})
	}
	if len(e.Nodes) > 1 {
		v.Others = e.Nodes
	}
	var b strings.Builder
	if err := nodeTemplate.Execute(&b, v); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

type exported struct {
	Name    Account
	ID, JWT string
}

var nodeTemplate = template.Must(template.New("node").Parse(`# Broker of patchproof, node {{.Name}}, for nats-server 2.15 or newer.
# Start it in this directory: nats-server -c nats-server.conf
server_name: "{{.Name}}"
listen: "0.0.0.0:{{.Port}}"
client_advertise: "{{.Host}}:{{.Port}}"
max_payload: {{.MaxMessage}}
max_pending: {{.MaxPending}}
max_subscriptions: 64

jetstream { store_dir: "jetstream", max_file_store: {{.MaxStore}}, max_memory_store: 1048576 }

# Who may do what. The claims below are where it starts; revocations come over the
# system account and are kept in accounts/.
operator: "{{.Operator}}"
system_account: {{.System}}
resolver { type: full, dir: "accounts", allow_delete: false, interval: "1m", timeout: "2s" }
resolver_preload {
{{- range .Accounts}}
  # {{.Name}}
  {{.ID}}: {{.JWT}}
{{- end}}
}

tls {
  cert_file: "{{.Cert}}"
  key_file: "{{.Key}}"
  min_version: "1.3"
  handshake_first: true
  timeout: 10
}
authorization { timeout: 10 }
{{- if .Others}}

cluster {
  name: patchproof
  listen: "0.0.0.0:{{.RoutePort}}"
  cluster_advertise: "{{.Host}}:{{.RoutePort}}"
  routes: [
{{- range .Others}}
    "nats-route://{{.Host}}:{{.RoutePort}}"
{{- end}}
  ]
  tls {
    cert_file: "{{.Cert}}"
    key_file: "{{.Key}}"
    ca_file: "{{.CA}}"
    min_version: "1.3"
    verify: true
    timeout: 10
  }
}
{{- end}}
`))

const exportReadme = `Each directory is one node of the broker: take it to its machine, keep it readable
by nats-server only, and start it there with: nats-server -c nats-server.conf
Then give the collector its addresses (broker.urls) and restart it. The servers' keys
are in server.key; certificates that the collector issued hold for 397 days, and
exporting again issues new ones. server.pem and server.key are yours to put there when
the collector's certificate is from files (tls.cert).
`
