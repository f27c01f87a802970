package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/store"
)

// maxText bounds what one stored frame may inflate to.
const maxText = 256 << 20

// micros is how an instant is stored. The zero time survives the way there and back.
func micros(t time.Time) int64 { return t.UnixMicro() }

// instant is the inverse of micros: UTC, whole microseconds.
func instant(us int64) time.Time { return time.UnixMicro(us).UTC() }

var zeroTime = micros(time.Time{})

// exact is t as it will come back.
func exact(t time.Time) time.Time { return instant(micros(t)) }

// toJSON never fails on our own types: they hold no channel, function or cycle.
func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func fromJSON(text string, v any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

// fromJSONStrict is fromJSON for what the evidence log bears witness to: a name
// that we never wrote is an alteration, not something to pass over. Fields of
// such types are only ever added, so it reads what older versions wrote.
func fromJSONStrict(text string, v any) error {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON value")
	}
	return nil
}

// fromJSONExact is fromJSONStrict for a text that has to be spelt as toJSON spells
// it: a name in another case is read the same here, and not in SQL.
func fromJSONExact(text string, v any) error {
	if err := fromJSONStrict(text, v); err != nil {
		return err
	}
	again, err := toJSON(v)
	if err != nil || again == text {
		return err
	}
	var a, b any // what was not valid UTF-8 is spelt otherwise the second time
	if err := errors.Join(json.Unmarshal([]byte(text), &a), json.Unmarshal([]byte(again), &b)); err != nil {
		return err
	}
	if !reflect.DeepEqual(a, b) {
		return errors.New("not spelt as it was written")
	}
	return nil
}

// words makes free text fit for a text column. Identifiers never pass through it.
func words(s string) string { return store.Words(s) }

// sequence refuses numbers the database cannot hold.
func sequence(n uint64) (int64, error) {
	if n > math.MaxInt64 {
		return 0, fmt.Errorf("sequence %d is greater than the store can hold (%d)", n, int64(math.MaxInt64))
	}
	return int64(n), nil
}

// notFound turns an empty result into the store's error, and names what was sought.
func notFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf(format+": %w", append(args, store.ErrNotFound)...)
	}
	return err
}

// next increments a counter and returns its new value.
func next(ctx context.Context, tx bun.Tx, name string) (int64, error) {
	var n int64
	err := tx.NewRaw(`INSERT INTO counter (name, value) VALUES (?, 1)
		ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value`, name).Scan(ctx, &n)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", name, err)
	}
	return n, nil
}

// batches calls f with consecutive slices of at most n elements.
func batches[T any](all []T, n int, f func([]T) error) error {
	for len(all) > 0 {
		k := min(n, len(all))
		if err := f(all[:k]); err != nil {
			return err
		}
		all = all[k:]
	}
	return nil
}

// rowsAtOnce is how many rows one statement inserts or names.
const rowsAtOnce = 500
