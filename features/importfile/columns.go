package importfile

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"relish/internal/plural"
	"relish/internal/suggest"
	"relish/ranker"
)

// The names of what a row says, which columns are mapped to.
const (
	nameID         = "id"
	nameUser       = "user"
	nameItem       = "item"
	nameAction     = "action"
	nameTime       = "time"
	nameSession    = "session"
	nameValue      = "value"
	nameImpression = "impression"
	nameTitle      = "title"
	nameText       = "text"
	nameTags       = "tags"
)

// names are what the rows of each kind can say beside fields, the required names first.
var names = map[ranker.EventKind][]string{
	ranker.EventInteraction: {
		nameUser, nameItem, nameAction, nameTime, nameID, nameSession, nameValue, nameImpression,
	},
	ranker.EventItem: {nameItem, nameTime, nameID, nameTitle, nameText, nameTags},
	ranker.EventUser: {nameUser, nameTime, nameID},
}

// required is the number of names that the rows of each kind must have.
var required = map[ranker.EventKind]int{
	ranker.EventInteraction: 3, ranker.EventItem: 1, ranker.EventUser: 1,
}

// synonyms are the names that other systems use, in lower case without separators.
var synonyms = map[string][]string{
	nameUser: {"userid", "visitorid", "visitor", "customerid", "customer", "uid", "memberid",
		"reviewerid", "accountid", "clientid", "usernumber", "personid", "buyerid"},
	nameItem: {"itemid", "product", "productid", "asin", "parentasin", "sku", "articleid",
		"article", "movieid", "bookid", "contentid", "trackid", "newsid", "listingid", "adid",
		"iid", "videoid", "songid", "gameid", "appid", "businessid", "docid", "documentid"},
	nameAction: {"eventtype", "event", "type", "eventname", "actiontype", "behavior", "behaviour",
		"behaviortype", "interaction", "interactiontype", "activity"},
	nameTime: {"timestamp", "ts", "eventtime", "datetime", "date", "createdat", "unixtime",
		"unixreviewtime", "eventtimestamp", "occurredat", "tdat", "timems", "epoch"},
	nameSession:    {"sessionid", "usersession", "visitid"},
	nameID:         {"eventid", "uuid", "transactionid"},
	nameImpression: {"impressionid", "requestid"},
	nameTitle:      {"name", "productname", "itemname", "headline"},
	nameText:       {"description", "body", "overview", "abstract", "content", "summary"},
	nameTags:       {"keywords", "labels"},
}

var nameSeparators = strings.NewReplacer("_", "", "-", "", " ", "", ".", "")

// meaning returns the name of Relish that a column probably stands for, "" if none.
func meaning(column string, known []string) string {
	plain := nameSeparators.Replace(strings.ToLower(column))
	for _, name := range known {
		if plain == name || slices.Contains(synonyms[name], plain) {
			return name
		}
	}
	return suggest.Name(column, known)
}

// checkColumns returns an error if a required name has no column, or if the times seem to be in a
// column that is not used.
func (p *plan) checkColumns(columns []string) error {
	var lacking []string
	for _, name := range names[p.kind][:required[p.kind]] {
		if _, ok := p.at[name]; !ok && (name != nameAction || p.opt.Action == "") {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("there is no column for %s. %s", strings.Join(lacking, ", "),
			p.suggest(columns))
	}
	_, timed := p.at[nameTime]
	if _, given := p.opt.Columns[nameTime]; timed || given {
		return nil
	}
	for _, col := range p.desc.Unused {
		if meaning(col, []string{nameTime}) != "" {
			return fmt.Errorf("no column is mapped to time, but %q looks like it. "+
				"Pass --columns %s, or --columns time= to import without times", col,
				columnsFlag([]string{nameTime + "=" + col}))
		}
	}
	return nil
}

// suggest says which columns a file has, and which mapping may be right. If no mapping is needed,
// the rows are JSON objects that are not read as a table.
func (p *plan) suggest(columns []string) string {
	out := "The columns are " + list(columns) + "."
	pairs, missing := p.guess(columns)
	if p.kind == ranker.EventInteraction && slices.Contains(missing, nameUser) {
		if flags := guessItems(columns); flags != "" {
			return out + " They look like a catalogue: try " + flags
		}
	}
	isMissing := func(name string) bool { return slices.Contains(missing, name) }
	switch {
	case len(pairs) > 0:
		out += " Try --columns " + columnsFlag(pairs)
	case !slices.ContainsFunc(names[p.kind][:required[p.kind]], isMissing):
		out += " Try --kind events"
	default:
		out += " Map them with --columns NAME=COLUMN,..."
	}
	if slices.Contains(missing, nameAction) {
		out += " and --action NAME for rows without an action"
	}
	return out
}

// guess returns pairs NAME=COLUMN that map columns by what their names mean, and the names for
// which there is no column.
func (p *plan) guess(columns []string) (pairs, missing []string) {
	missing = slices.Clone(names[p.kind])
	for name, col := range p.opt.Columns {
		if i := slices.Index(missing, name); i >= 0 && col != "" {
			missing = slices.Delete(missing, i, i+1)
			pairs = append(pairs, name+"="+col)
		}
	}
	slices.Sort(pairs)
	for _, col := range columns {
		name := meaning(col, missing)
		if name == "" || strings.ContainsFunc(col, unicode.IsControl) {
			continue
		}
		missing = slices.DeleteFunc(missing, func(k string) bool { return k == name })
		if !strings.EqualFold(name, col) {
			pairs = append(pairs, name+"="+col)
		}
	}
	return pairs, missing
}

// guessItems returns the flags for columns that look like those of a catalogue: they name an item,
// and have a title or a text. It is "" if they do not.
func guessItems(columns []string) string {
	items := plan{opt: &Options{}, kind: ranker.EventItem}
	pairs, missing := items.guess(columns)
	if slices.Contains(missing, nameTitle) && slices.Contains(missing, nameText) {
		return ""
	}
	if slices.Contains(missing, nameItem) {
		// The id in a catalogue is the item's.
		i := slices.IndexFunc(columns, func(c string) bool {
			return meaning(c, []string{nameID}) != ""
		})
		if i < 0 {
			return ""
		}
		pairs = slices.DeleteFunc(pairs, func(pair string) bool {
			return strings.HasPrefix(pair, nameID+"=")
		})
		pairs = append([]string{nameItem + "=" + columns[i]}, pairs...)
	}
	if len(pairs) == 0 {
		return "--kind items"
	}
	return "--kind items --columns " + columnsFlag(pairs)
}

// columnsFlag returns pairs NAME=COLUMN as a shell takes them.
func columnsFlag(pairs []string) string {
	escaped := make([]string, len(pairs))
	for i, pair := range pairs {
		escaped[i] = strings.ReplaceAll(pair, ",", `\,`)
	}
	flag := strings.Join(escaped, ",")
	if strings.Trim(flag, plainName+"=,") == "" {
		return flag
	}
	return "'" + strings.ReplaceAll(flag, "'", `'\''`) + "'"
}

// maxListed bounds the columns that a message lists.
const maxListed = 30

func list(columns []string) string {
	more := ""
	if len(columns) > maxListed {
		more = " and " + plural.Count(len(columns)-maxListed, "other")
		columns = columns[:maxListed]
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = fmt.Sprintf("%.60q", c)
		if c != "" && strings.Trim(c, plainName) == "" {
			quoted[i] = c
		}
	}
	return strings.Join(quoted, ", ") + more
}

// plainName has the characters of names that need no quotes.
const plainName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
