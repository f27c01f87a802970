package sqlstore_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/internal/sqltest"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, open)
}

func open(t testing.TB) store.Store {
	t.Helper()
	return sqltest.Open(t)
}
