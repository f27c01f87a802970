package imds_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/imds"
	"github.com/patchproof/patchproof/schema"
)

const document = `{
  "accountId" : "123456789012",
  "architecture" : "x86_64",
  "availabilityZone" : "eu-central-1a",
  "imageId" : "ami-0123456789abcdef0",
  "instanceId" : "i-0123456789abcdef0",
  "instanceType" : "m5.large",
  "region" : "eu-central-1"
}`

// service is a metadata service with IMDSv2 only.
type service map[string]string

const token = "AQAEAHgBq-token=="

func (s service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(token))
		return
	}
	if r.Header.Get("X-aws-ec2-metadata-token") != token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, ok := s[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = w.Write([]byte(body))
}

func whole() service {
	return service{
		"/latest/dynamic/instance-identity/document":   document,
		"/latest/dynamic/instance-identity/rsa2048":    "MIAGCSqG\nAQcC",
		"/latest/meta-data/tags/instance":              "Name\nteam",
		"/latest/meta-data/tags/instance/Name":         "web-1",
		"/latest/meta-data/tags/instance/team":         "payments, europe",
		"/latest/meta-data/iam/security-credentials/x": "never asked for",
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestFetch(t *testing.T) {
	want := &schema.Cloud{
		Provider: "aws", AccountID: "123456789012", Region: "eu-central-1", AvailabilityZone: "eu-central-1a",
		InstanceID: "i-0123456789abcdef0", InstanceType: "m5.large", ImageID: "ami-0123456789abcdef0",
		Tags:             map[string]string{"Name": "web-1", "team": "payments, europe"},
		IdentityDocument: document, IdentitySignature: "MIAGCSqG\nAQcC",
	}
	got, gaps := imds.Fetch(t.Context(), serve(t, whole()))
	if d := cmp.Diff(want, got); d != "" || len(gaps) > 0 {
		t.Errorf("gaps %v, cloud (-want +got):\n%s", gaps, d)
	}
}

func TestFetchOlderSignature(t *testing.T) {
	s := whole()
	delete(s, "/latest/dynamic/instance-identity/rsa2048")
	s["/latest/dynamic/instance-identity/pkcs7"] = "MIAold"
	got, gaps := imds.Fetch(t.Context(), serve(t, s))
	if len(gaps) > 0 || got.IdentitySignature != "MIAold" {
		t.Errorf("signature %q, gaps %v", got.IdentitySignature, gaps)
	}
}

// Tags are off unless the owner turned them on; that is no gap.
func TestFetchWithoutTags(t *testing.T) {
	s := whole()
	delete(s, "/latest/meta-data/tags/instance")
	got, gaps := imds.Fetch(t.Context(), serve(t, s))
	if len(gaps) > 0 || len(got.Tags) > 0 || got.InstanceID == "" {
		t.Errorf("cloud %+v, gaps %v", got, gaps)
	}
}

func TestFetchGaps(t *testing.T) {
	with := func(path, body string) service {
		s := whole()
		s[path] = body
		return s
	}
	without := func(path string) service {
		s := whole()
		delete(s, path)
		return s
	}
	answer := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	elsewhere := serve(t, whole())
	for _, tc := range []struct {
		name    string
		handler http.Handler
		kind    string
		cloud   bool
	}{
		{"turned off", answer(http.StatusForbidden, ""), schema.GapUnreadable, false},
		{"no such service", answer(http.StatusNotFound, ""), schema.GapUnreadable, false},
		{"a captive portal", answer(http.StatusOK, "<html>\nlog in"), schema.GapUnreadable, false},
		{"an endless token", answer(http.StatusOK, strings.Repeat("x", 1<<20)), schema.GapUnreadable, false},
		{"a redirect", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
		}), schema.GapUnreadable, false},
		{"no document", without("/latest/dynamic/instance-identity/document"), schema.GapUnreadable, false},
		{"a broken document", with("/latest/dynamic/instance-identity/document", "{"), schema.GapCorrupt, false},
		{"a document of another kind", with("/latest/dynamic/instance-identity/document", "[]"), schema.GapCorrupt, false},
		{"a huge document", with("/latest/dynamic/instance-identity/document", strings.Repeat(" ", 1<<20)+"{}"), schema.GapUnreadable, false},
		{"no signature", without("/latest/dynamic/instance-identity/rsa2048"), schema.GapUnreadable, true},
		{"a tag that is gone", without("/latest/meta-data/tags/instance/team"), schema.GapUnreadable, true},
		{"more tags than AWS allows", with("/latest/meta-data/tags/instance", strings.Repeat("Name\n", 1000)), schema.GapUnreadable, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cloud, gaps := imds.Fetch(t.Context(), serve(t, tc.handler))
			if len(gaps) != 1 || gaps[0].Kind != tc.kind || gaps[0].Extractor != imds.Extractor || (cloud != nil) != tc.cloud {
				t.Errorf("cloud %+v, gaps %+v, want one %s", cloud, gaps, tc.kind)
			}
		})
	}
}

// A service that takes the question and never answers costs the limit, once.
func TestFetchTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	start := time.Now()
	cloud, gaps := imds.Fetch(t.Context(), "http://"+l.Addr().String())
	if took := time.Since(start); took > imds.Timeout+500*time.Millisecond {
		t.Errorf("took %v, at most %v", took, imds.Timeout)
	}
	if cloud != nil || len(gaps) != 1 || gaps[0].Kind != schema.GapTimeout {
		t.Errorf("cloud %+v, gaps %+v, want a timeout", cloud, gaps)
	}
}

// proxied counts what reached the proxy that the environment names. net/http
// reads the environment once a process, so it is set before anything else.
var proxied atomic.Int64

func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} {
		if err := os.Setenv(name, proxy.URL); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// A proxy in the environment must not see the token.
func TestFetchUsesNoProxy(t *testing.T) {
	// A name, since requests to loopback addresses are never proxied anyway.
	_, gaps := imds.Fetch(t.Context(), "http://metadata.invalid")
	if len(gaps) != 1 || proxied.Load() != 0 {
		t.Errorf("gaps %v, %d requests through the proxy, want one gap and none", gaps, proxied.Load())
	}
}

func TestOnEC2(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		want          bool
	}{
		"Nitro":         {"sys/class/dmi/id/sys_vendor", "Amazon EC2\n", true},
		"Xen, DMI":      {"sys/class/dmi/id/bios_version", "4.11.amazon\n", true},
		"Xen, any user": {"sys/hypervisor/uuid", "ec2a1b2c-0000-0000-0000-000000000001\n", true},
		"another cloud": {"sys/class/dmi/id/sys_vendor", "QEMU\n", false},
		"another Xen":   {"sys/hypervisor/uuid", "1ec2a1b2-0000-0000-0000-000000000001\n", false},
		"nothing":       {"etc/hostname", "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			root := fstest.MapFS{tc.file: &fstest.MapFile{Data: []byte(tc.content)}}
			if got := imds.OnEC2(root); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
