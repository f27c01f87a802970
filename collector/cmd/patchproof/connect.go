package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
)

// defaultData is the collector's data directory.
const defaultData = "/var/lib/patchproof"

// connection says which collector a command talks to.
type connection struct{ data, url, tokenFile string }

// connectFlags adds the flags every command has that asks a collector.
func connectFlags(cmd *cobra.Command) *connection {
	c := &connection{}
	f := cmd.Flags()
	f.StringVar(&c.data, "data", cmp.Or(os.Getenv("PATCHPROOF_DATA"), defaultData), "data directory of a collector on this machine ($PATCHPROOF_DATA)")
	f.StringVar(&c.url, "url", os.Getenv("PATCHPROOF_URL"), "URL of the collector; default: the one running on --data ($PATCHPROOF_URL)")
	f.StringVar(&c.tokenFile, "token-file", os.Getenv("PATCHPROOF_TOKEN_FILE"), "file with the API token; default: DATA/token ($PATCHPROOF_TOKEN_FILE)")
	return c
}

// endpoints is what a running collector writes to DATA/endpoints.json.
type endpoints struct {
	HTTP string `json:"http"`
	NATS string `json:"nats"`
}

func (c *connection) client() (*client.Client, error) {
	url := c.url
	if url == "" {
		ep, err := readEndpoints(c.data)
		if err != nil {
			return nil, err
		}
		url = ep.HTTP
	}
	path := cmp.Or(c.tokenFile, filepath.Join(c.data, "token"))
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, withHint(fmt.Errorf("read API token: %w", err), "name its file with --token-file, or the collector's data directory with --data")
	}
	token := strings.TrimSpace(string(raw))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, withHint(fmt.Errorf("read API token: %s does not hold a token: want one line", path), "the collector writes the first one to the file 'token' in its data directory")
	}
	return &client.Client{URL: url, Token: token}, nil
}

func readEndpoints(data string) (endpoints, error) {
	raw, err := os.ReadFile(filepath.Join(data, "endpoints.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return endpoints{}, withHint(fmt.Errorf("no collector runs on data directory %s", data),
			"start it with 'patchproof serve --data DIR', or name another with --data or --url")
	}
	if err != nil {
		return endpoints{}, fmt.Errorf("read the collector's endpoints: %w", err)
	}
	var ep endpoints
	if err := json.Unmarshal(raw, &ep); err != nil {
		return ep, fmt.Errorf("read the collector's endpoints: %w", err)
	}
	return ep, nil
}
