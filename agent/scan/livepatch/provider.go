package livepatch

import (
	"slices"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// providerOf tells whose a module is by its name, and by the distribution where
// providers share a prefix.
func providerOf(module string, release schema.OSRelease) string {
	like := func(ids ...string) bool {
		return slices.Contains(ids, release.ID) || slices.ContainsFunc(release.IDLike, func(id string) bool {
			return slices.Contains(ids, id)
		})
	}
	switch {
	case strings.HasPrefix(module, "lkp_"):
		return schema.ProviderCanonical
	case strings.HasPrefix(module, "kpatch_"):
		return schema.ProviderKpatch
	case strings.HasPrefix(module, "livepatch_") && release.ID == "amzn":
		return schema.ProviderAmazon
	case (strings.HasPrefix(module, "livepatch_") || strings.HasPrefix(module, "klp_") || strings.HasPrefix(module, "kgraft_patch_")) &&
		like("suse", "sles", "sled", "opensuse"):
		return schema.ProviderSUSE
	}
	return schema.ProviderOther
}

// packagePrefixes are how packages of live patches are named, each before the
// release of the kernel they are for, with dots or underscores.
var packagePrefixes = map[string]string{
	schema.ProviderAmazon: "kernel-livepatch-",
	schema.ProviderKpatch: "kpatch-patch-",
	schema.ProviderSUSE:   "kernel-livepatch-",
}

// packageFor returns the full name of the installed package with a provider's
// live patches for a kernel release, empty when there is none.
//
//	kernel-livepatch-6.1.57-29.131                for 6.1.57-29.131.amzn2023.x86_64
//	kpatch-patch-5_14_0-70_13_1                   for 5.14.0-70.13.1.el9_0.x86_64
//	kernel-livepatch-5_14_21-150400_24_100-default for 5.14.21-150400.24.100-default
func packageFor(provider, release string, packages []schema.Package) string {
	prefix, ok := packagePrefixes[provider]
	if !ok {
		return ""
	}
	for i := range packages {
		p := &packages[i]
		of, ok := strings.CutPrefix(p.Name, prefix)
		if !ok || p.Format != schema.FormatRPM {
			continue
		}
		of = strings.ReplaceAll(of, "_", ".")
		rest, ok := strings.CutPrefix(strings.ReplaceAll(release, "_", "."), of)
		// What is left may be the distribution's mark, not more of the release.
		if ok && (rest == "" || len(rest) > 1 && rest[0] == '.' && rest[1] >= 'a') {
			return p.Name + "-" + p.EVR() + "." + p.Arch
		}
	}
	return ""
}
