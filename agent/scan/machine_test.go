package scan_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/patchproof/patchproof/agent/scan"
	"github.com/patchproof/patchproof/schema"
)

// machineRoot makes a root with what tells a machine.
func machineRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMachine(t *testing.T) {
	const document = `{"instanceId":"i-0123456789abcdef0"}`
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_, _ = w.Write([]byte("token"))
			return
		}
		_, _ = w.Write([]byte(document))
	}))
	t.Cleanup(service.Close)
	const uuid, machineID = "ec2a1b2c-0000-0000-0000-000000000001", "3d1219c7c4c5404aaa1f6d2a48adfda4"
	files := map[string]string{
		"sys/class/dmi/id/product_uuid": uuid + "\n", "etc/machine-id": machineID + "\n", "run/cloud-init/.instance-id": "web-1\n",
	}
	for name, test := range map[string]struct {
		root string
		o    scan.Options
		want schema.Machine
		gaps int
	}{
		"metadata_service": {
			machineRoot(t, files),
			scan.Options{IMDS: true, IMDSEndpoint: service.URL},
			schema.Machine{Instance: "ec2/i-0123456789abcdef0", ProductUUID: uuid, MachineID: machineID},
			0,
		},
		"metadata_service_not_asked": {
			machineRoot(t, files),
			scan.Options{IMDSEndpoint: service.URL},
			schema.Machine{Instance: "cloud-init/web-1", ProductUUID: uuid, MachineID: machineID},
			0,
		},
		"metadata_service_away": {
			machineRoot(t, files),
			scan.Options{IMDS: true, IMDSEndpoint: "http://127.0.0.1:1"},
			schema.Machine{Instance: "cloud-init/web-1", ProductUUID: uuid, MachineID: machineID},
			1,
		},
		"nothing": {machineRoot(t, nil), scan.Options{IMDS: true}, schema.Machine{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Root = test.root
			got, gaps, err := scan.Machine(t.Context(), test.o)
			if err != nil || got != test.want || len(gaps) != test.gaps {
				t.Errorf("%+v, %+v, %v; want %+v and %d gaps", got, gaps, err, test.want, test.gaps)
			}
		})
	}
}
