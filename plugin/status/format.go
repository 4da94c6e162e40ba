package status

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// number writes thousands apart.
func number(n any) string {
	text := fmt.Sprint(n)
	digits, sign := strings.CutPrefix(text, "-")
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	if sign {
		return "−" + digits
	}
	return digits
}

// short writes a large number as its order of magnitude.
func short(n int64) string {
	if n < 1e15 {
		return number(n)
	}
	digits := strconv.FormatInt(n, 10)
	return digits[:1] + "." + digits[1:2] + " × 10" + superscript.Replace(strconv.Itoa(len(digits)-1))
}

var superscript = strings.NewReplacer("0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷", "8", "⁸", "9", "⁹")

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func tally(c plugin.Counts) string {
	var parts []string
	for _, p := range []struct {
		n    int64
		name string
	}{{c.Healed, "healed"}, {c.AlreadyHealed, "healed meanwhile"}, {c.Refused + c.Failed, "refused or failed"}} {
		if p.n > 0 {
			parts = append(parts, number(p.n)+" "+p.name)
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// percent keeps what is not full from being called so.
func percent(share float64) string {
	switch p := share * 100; {
	case p <= 0:
		return "0"
	case p < 0.1:
		return "<0.1"
	case p < 10:
		return strconv.FormatFloat(p, 'f', 1, 64)
	case share < 1:
		return strconv.Itoa(min(99, int(p+0.5)))
	}
	return "100"
}

// width is a share as a length of a hundred; a little of something is to be seen.
func width(share float64) float64 {
	if share <= 0 {
		return 0
	}
	return max(1, min(100, share*100))
}

func took(d time.Duration) string {
	switch {
	case d > 0 && d < 100*time.Microsecond:
		return "<0.1 ms"
	case d < time.Second:
		return strconv.FormatFloat(d.Seconds()*1000, 'f', 1, 64) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// plain leaves out the quotes of names that need none.
func plain(name string) string { return quotedInVain.ReplaceAllString(name, "$1") }

var quotedInVain = regexp.MustCompile(`"([a-z_][a-z0-9_]*)"`)

// spell writes a state, an outcome or a reason in words.
func spell(code any) string { return strings.ReplaceAll(fmt.Sprint(code), "_", " ") }

func clock(t time.Time) string { return t.UTC().Format("Jan 2 15:04:05") }

// stamp is the time for machines.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func age(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s ago"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h ago"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + " days ago"
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// list names the first of the sequences that would be moved.
func list(rows []row) string {
	var parts []string
	for _, r := range rows[:min(len(rows), shownMoves)] {
		parts = append(parts, plain(r.Sequence)+" by "+number(r.Behind))
	}
	if more := len(rows) - len(parts); more > 0 {
		parts = append(parts, number(more)+" more")
	}
	return strings.Join(parts, ", ")
}
