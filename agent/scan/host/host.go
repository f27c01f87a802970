// Package host reads facts of the machine: its names, its hardware, its
// addresses. Each is a claim by the host, never proof.
//
// Names come from files below the root. Hardware and addresses exist only on the
// running system; they are read with those calls of gopsutil that open files,
// never with host.Info, which runs programs.
package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/shirou/gopsutil/v3/cpu"
	gohost "github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "host"

const dmi = "sys/class/dmi/id/"

// instanceID is where cloud-init writes, in each boot, what this instance is
// called. Its file in /var/lib/cloud outlives the boot and may be another
// machine's, from which an image was made.
const instanceID = "run/cloud-init/.instance-id"

// Named reads what any root file system says of its host: its name and its
// machine id.
func Named(root fs.FS) (schema.Host, []schema.Gap) {
	var r reader
	h := schema.Host{Hostname: r.word(root, "etc/hostname"), MachineID: r.machineID(root)}
	return h, r.gaps
}

// Running reads the facts of the running system, whose root this must be.
func Running(root fs.FS) (schema.Host, []schema.Gap) {
	var r reader
	h := r.machine(root)
	h.Hostname = r.word(root, "proc/sys/kernel/hostname")
	h.Arch = r.arch(root)
	h.ProductVendor = r.word(root, dmi+"sys_vendor")
	h.ProductName = r.word(root, dmi+"product_name")
	r.hardware(&h)
	h.Addresses = r.addresses()
	return h, r.gaps
}

// Machine reads what tells this machine from another, but for what a metadata
// service says.
func Machine(root fs.FS) (schema.Host, []schema.Gap) {
	var r reader
	return r.machine(root), r.gaps
}

// reader gathers gaps.
type reader struct{ gaps []schema.Gap }

func (r *reader) machine(root fs.FS) schema.Host {
	return schema.Host{
		MachineID:   r.machineID(root),
		ProductUUID: strings.ToLower(r.word(root, dmi+"product_uuid")),
		InstanceID:  r.word(root, instanceID),
	}
}

func (r *reader) gap(kind, name, detail string) {
	if name != "" {
		name = "/" + name
	}
	r.gaps = append(r.gaps, schema.Gap{Extractor: Extractor, Kind: kind, Path: name, Detail: detail})
}

// word reads a file of one line. Many of these files are optional; one that is
// there and cannot be read is a gap.
func (r *reader) word(root fs.FS, name string) string {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		r.gap(schema.GapUnreadable, name, err.Error())
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		r.gap(schema.GapUnreadable, name, err.Error())
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return schema.CleanText(strings.TrimSpace(line), 256)
}

// machineID reads machine-id(5). An image carries none, or "uninitialized".
func (r *reader) machineID(root fs.FS) string {
	for _, name := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} {
		id := r.word(root, name)
		if id == "" || id == "uninitialized" {
			continue
		}
		if len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" {
			return id
		}
		r.gap(schema.GapCorrupt, name, fmt.Sprintf("%.60q is not a machine id", id))
	}
	return ""
}

func (r *reader) arch(root fs.FS) string {
	name, err := machine()
	if err == nil {
		return name
	}
	if name = r.word(root, "proc/sys/kernel/arch"); name == "" { // Linux 6.1 and later
		r.gap(schema.GapUnreadable, "", fmt.Sprintf("machine: %v", err))
	}
	return name
}

func (r *reader) hardware(h *schema.Host) {
	if n, err := cpu.Counts(true); err == nil {
		h.CPUs = n
	} else {
		r.gap(schema.GapUnreadable, "proc/cpuinfo", err.Error())
	}
	if m, err := mem.VirtualMemory(); err == nil {
		h.MemoryBytes = m.Total
	} else {
		r.gap(schema.GapUnreadable, "proc/meminfo", err.Error())
	}
	system, role, err := gohost.Virtualization()
	switch {
	case err != nil:
		r.gap(schema.GapUnreadable, "proc", fmt.Sprintf("virtualization: %v", err))
	case role == "guest":
		h.Virtualization = system
	}
}

// addresses lists the addresses others can reach this host by, sorted.
func (r *reader) addresses() []string {
	interfaces, err := net.Interfaces()
	if err != nil {
		r.gap(schema.GapUnreadable, "", fmt.Sprintf("network interfaces: %v", err))
		return nil
	}
	var found []netip.Addr
	for i := range interfaces {
		if interfaces[i].Flags&net.FlagUp == 0 || interfaces[i].Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := interfaces[i].Addrs()
		if err != nil {
			r.gap(schema.GapUnreadable, "", fmt.Sprintf("addresses of %.60q: %v", interfaces[i].Name, err))
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && global(p.Addr()) {
				found = append(found, p.Addr().Unmap())
			}
		}
	}
	return r.list(found)
}

func (r *reader) list(found []netip.Addr) []string {
	slices.SortFunc(found, netip.Addr.Compare)
	found = slices.Compact(found)
	if len(found) > schema.MaxAddresses {
		r.gap(schema.GapTruncated, "", fmt.Sprintf("%d addresses, %d are reported", len(found), schema.MaxAddresses))
		found = found[:schema.MaxAddresses]
	}
	list := make([]string, len(found))
	for i, a := range found {
		list[i] = a.WithZone("").String()
	}
	return list
}

func global(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}
