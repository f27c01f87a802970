package match

import "github.com/patchproof/patchproof/collector/inventory"

// Index holds the advisories of one distribution release, by package name.
type Index struct{ release inventory.Release }
