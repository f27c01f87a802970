package query

import (
	"errors"
	"strings"
)

// splitWords reads a list of words: separated by commas, with the space around
// them left out. One that begins with a double quote goes to the next single one;
// two of them in it are one.
func splitWords(s string) ([]string, error) {
	var out []string
	for {
		s = strings.TrimSpace(s)
		word, rest, err := firstWord(s)
		if err != nil {
			return nil, err
		}
		out = append(out, word)
		rest, more := strings.CutPrefix(rest, ",")
		if !more {
			return out, nil
		}
		s = rest
	}
}

// firstWord takes the first word of a list; what is left is empty or begins with
// a comma.
func firstWord(s string) (word, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, ',')
		if end < 0 {
			end = len(s)
		}
		return strings.TrimSpace(s[:end]), s[end:], nil
	}
	var b strings.Builder
	for s = s[1:]; ; {
		text, after, closed := strings.Cut(s, `"`)
		b.WriteString(text)
		switch {
		case !closed:
			return "", "", errors.New("a double quote is not closed")
		case strings.HasPrefix(after, `"`):
			b.WriteByte('"')
			s = after[1:]
			continue
		}
		if rest = strings.TrimSpace(after); rest != "" && rest[0] != ',' {
			return "", "", errors.New("want a comma after a word in double quotes")
		}
		return b.String(), rest, nil
	}
}

// joinWords is the inverse of splitWords.
func joinWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; strings.Contains(w, ",") || strings.HasPrefix(w, `"`) || strings.TrimSpace(w) != w {
			out[i] = `"` + strings.ReplaceAll(w, `"`, `""`) + `"`
		}
	}
	return strings.Join(out, ",")
}
