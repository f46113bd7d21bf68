package demo

import (
	"strings"
	"unicode"

	"relish/ranker"
)

// themes are interests that show in descriptions only. An item has a theme if its title or
// description has one of the theme's words. Relish never sees this list.
var themes = map[string][]string{
	"sea": strings.Fields(`
		sea ocean harbour boat boats sailing tide tides island ferry sailor sailors ship trawler
		lighthouse coast waves shore kelp anchor lagoon reef fishing rowing quay`),
	"food": strings.Fields(`
		bread baker cook kitchen cheese recipe soup flour cider miso butter garlic sauce roast
		dough simmer onions lemon oven stew spice fermented sourdough broth`),
	"music": strings.Fields(`
		piano jazz trombone saxophone saxophonist song songs drums bass orchestra band sheet
		melody choir guitar violin album tune cello chords rhythm swing`),
	"grief": strings.Fields(`
		widow widower funeral mourning grief absence buried lost late dead dying farewell grave
		remember remembers letters absent`),
	"mountains": strings.Fields(`
		mountain mountains alpine glacier climb climbs climber ridge summit snow hut peak wall ice
		pass valley avalanche scree slope`),
	"space": strings.Fields(`
		orbit orbital moon moons planet planets star stars astronomer astronomers telescope probe
		eclipse rocket galaxy comet asteroid satellite observatory meteor`),
	"code": strings.Fields(`
		code software compiler program programs programming programmer debugging bug bugs
		algorithm engineer computer server keyboard commit hacker robot robots circuit`),
	"garden": strings.Fields(`
		garden gardens orchard soil compost allotment slugs bees hives seeds pruning prune roses
		greenhouse plants trees tomatoes herbs hedge beehive`),
	"comedy": strings.Fields(`
		farce comic funny comedy giggling joke jokes absurd ridiculous hilarious apology moustache
		clown prank silly laugh laughs deadpan`),
	"mystery": strings.Fields(`
		murder detective clue clues suspects corpse thief stolen missing investigation secret
		forger wreck vanished alibi heist smuggler smugglers witnesses`),
	"ghosts": strings.Fields(`
		ghost ghosts haunted haunts cellar spirit spirits seance poltergeist phantom curse cursed
		eerie whispers undead disconnected`),
	"history": strings.Fields(`
		war wartime century centuries empire king queen ledgers medieval roman castle revolution
		occupied archive archives monastery miners railway victorian`),
	"animals": strings.Fields(`
		dog dogs mongrel horse horses cat cats goats sheep collies shepherd fox foxes seals birds
		owl whale whales donkey wolf otters marmots`),
}

// Themes returns the names of the themes of an item.
func Themes(it *ranker.Item) map[string]bool {
	words := map[string]bool{}
	separator := func(r rune) bool { return !unicode.IsLetter(r) }
	for w := range strings.FieldsFuncSeq(strings.ToLower(it.Title+" "+it.Text), separator) {
		words[w] = true
	}
	has := map[string]bool{}
	for theme, list := range themes {
		for _, w := range list {
			if words[w] {
				has[theme] = true
				break
			}
		}
	}
	return has
}
