package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// bash is one function: it finds out in which command the cursor is, then
// offers what may come there.
func bash(name string, root *command) string {
	f := function(name)
	var descend, values, offers strings.Builder
	root.each(func(c *command) {
		path := "/" + strings.Join(c.words, "/")
		if len(c.words) > 0 {
			parent := "/" + strings.Join(c.words[:len(c.words)-1], "/")
			fmt.Fprintf(&descend, "\t\t\t'%s %s') path=%s n=0 ;;\n", parent, c.words[len(c.words)-1], path)
		}
		var words []string
		for _, sub := range c.subs {
			words = append(words, sub.node.Name)
		}
		for _, flag := range c.flags {
			words = append(words, "--"+flag.Name)
			if !takesValue(flag) {
				continue
			}
			spelt := fmt.Sprintf("'%s --%s'", path, flag.Name)
			if flag.Short != 0 {
				spelt += fmt.Sprintf("|'%s -%c'", path, flag.Short)
			}
			fmt.Fprintf(&values, "\t\t%s) %s; return ;;\n", spelt, bashOffer(f, flag.Value))
		}
		words = append(words, "--help")
		fmt.Fprintf(&offers, "\t\t'%s '*) COMPREPLY+=($(compgen -W '%s' -- \"$cur\")) ;;\n", path, strings.Join(words, " "))
		for n, arg := range c.args {
			if n == len(c.args)-1 && arg.IsCumulative() {
				fmt.Fprintf(&values, "\t\t'%s '*) [[ $cur == -* || $n -lt %d ]] || %s ;;\n", path, n, bashOffer(f, arg))
			} else {
				fmt.Fprintf(&values, "\t\t'%s %d') [[ $cur == -* ]] || %s ;;\n", path, n, bashOffer(f, arg))
			}
		}
	})
	// A word of COMP_WORDS may be a lone "=": bash parts --flag=value there.
	return fmt.Sprintf(`# bash completion for %[1]s, made by "%[1]s completion bash"
%[2]s_interfaces() {
	local file
	for file in %[6]s/*.conf; do
		[[ -e $file ]] && file=${file##*/} && echo "${file%%.conf}"
	done
}
%[2]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} path=/ n=0 i word flag=
	COMPREPLY=()
	[[ $cur == = ]] && cur=
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		[[ $word == = ]] && continue
		if %[2]s_takes "$path $flag"; then
			flag=
			continue
		fi
		flag=
		case $word in
		-*) flag=$word; continue ;;
		esac
		case "$path $word" in
%[3]s			*) ((n++)) ;;
		esac
	done
	%[2]s_takes "$path $flag" || flag=
	case "$path ${flag:-$n}" in
%[4]s	esac
	case "$path " in
%[5]s	esac
}
%[7]s
complete -F %[2]s %[1]s
`, name, f, descend.String(), values.String(), offers.String(), interfaces, bashTakes(f, root))
}

// bashTakes is a function that tells whether a flag of a command takes a value.
func bashTakes(f string, root *command) string {
	var all []string
	root.each(func(c *command) {
		for _, flag := range c.flags {
			if !takesValue(flag) {
				continue
			}
			path := "/" + strings.Join(c.words, "/")
			all = append(all, fmt.Sprintf("'%s --%s'", path, flag.Name))
			if flag.Short != 0 {
				all = append(all, fmt.Sprintf("'%s -%c'", path, flag.Short))
			}
		}
	})
	if len(all) == 0 {
		return f + "_takes() { false; }"
	}
	return fmt.Sprintf("%s_takes() {\n\tcase $1 in\n\t%s) true ;;\n\t*) false ;;\n\tesac\n}", f, strings.Join(all, "|"))
}

// bashOffer is a command that offers what may stand for v.
func bashOffer(f string, v *kong.Value) string {
	switch kind, words := kind(v); kind {
	case aWord:
		return fmt.Sprintf("COMPREPLY=($(compgen -W '%s' -- \"$cur\"))", strings.Join(words, " "))
	case anInterface:
		return fmt.Sprintf("COMPREPLY=($(compgen -W \"$(%s_interfaces)\" -- \"$cur\"; compgen -f -X '!*.conf' -- \"$cur\"))", f)
	case files:
		return "COMPREPLY=($(compgen -f -- \"$cur\"))"
	}
	return "true"
}

// zsh is one function for each command, of _arguments.
func zsh(name string, root *command) string {
	var b strings.Builder
	f := function(name)
	fmt.Fprintf(&b, "#compdef %[1]s\n# zsh completion for %[1]s, made by \"%[1]s completion zsh\"\n", name)
	fmt.Fprintf(&b, "%s_interfaces() {\n\tlocal -a names\n\tnames=(%s/*.conf(N:t:r))\n\t_alternative 'interfaces:interface:compadd -a names' 'files:file:_files -g \"*.conf\"'\n}\n", f, interfaces)
	root.each(func(c *command) {
		this := strings.Join(append([]string{f}, c.words...), "_")
		fmt.Fprintf(&b, "%s() {\n\tlocal curcontext=$curcontext state line\n\tlocal -a commands\n\t_arguments -C \\\n", this)
		for _, flag := range c.flags {
			value := ""
			if takesValue(flag) {
				value = ":" + zshEscape(flag.FormatPlaceHolder()) + ":" + zshOffer(f, flag.Value)
			}
			spelt := "--" + flag.Name
			if takesValue(flag) {
				spelt += "="
			}
			fmt.Fprintf(&b, "\t\t'%s[%s]%s' \\\n", spelt, zshEscape(flag.Help), value)
			if flag.Short != 0 {
				fmt.Fprintf(&b, "\t\t'-%c[%s]%s' \\\n", flag.Short, zshEscape(flag.Help), value)
			}
		}
		b.WriteString("\t\t'--help[show help]'")
		if len(c.subs) > 0 {
			b.WriteString(" \\\n\t\t'1: :->command' \\\n\t\t'*:: :->rest'\n\tcase $state in\n\tcommand)\n\t\tcommands=(\n")
			for _, sub := range c.subs {
				fmt.Fprintf(&b, "\t\t\t'%s:%s'\n", sub.node.Name, zshEscape(sub.node.Help))
			}
			b.WriteString("\t\t)\n\t\t_describe command commands ;;\n\trest)\n\t\tcase $words[1] in\n")
			for _, sub := range c.subs {
				fmt.Fprintf(&b, "\t\t%s) %s ;;\n", sub.node.Name, this+"_"+sub.node.Name)
			}
			b.WriteString("\t\tesac ;;\n\tesac\n}\n")
			return
		}
		for n, arg := range c.args {
			place := fmt.Sprint(n + 1)
			if arg.IsCumulative() {
				place = "*"
			}
			fmt.Fprintf(&b, " \\\n\t\t'%s:%s:%s'", place, zshEscape(arg.Name), zshOffer(f, arg))
		}
		b.WriteString("\n}\n")
	})
	// Autoloaded, the file is the function; sourced, it defines it.
	fmt.Fprintf(&b, "if [ \"$funcstack[1]\" = %[1]s ]; then %[1]s; else compdef %[1]s %[2]s; fi\n", f, name)
	return b.String()
}

func zshOffer(f string, v *kong.Value) string {
	switch kind, words := kind(v); kind {
	case aWord:
		return "(" + strings.Join(words, " ") + ")"
	case anInterface:
		return f + "_interfaces"
	case files:
		return "_files"
	}
	return " "
}

// zshEscape makes text stand in a specification of _arguments, in quotes.
func zshEscape(text string) string {
	return strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(text)
}

// fish is one rule for each word that may come.
func fish(name string, root *command) string {
	var b strings.Builder
	f := "_" + function(name)
	fmt.Fprintf(&b, "# fish completion for %[1]s, made by \"%[1]s completion fish\"\n", name)
	fmt.Fprintf(&b, "function %s_interfaces\n\tfor file in %s/*.conf\n\t\tstring replace -r '.*/(.*)\\.conf$' '$1' -- $file\n\tend\nend\n", f, interfaces)
	fmt.Fprintf(&b, "complete -c %s -f\ncomplete -c %s -l help -d 'show help'\n", name, name)
	root.each(func(c *command) {
		var conditions []string
		for _, word := range c.words {
			conditions = append(conditions, "__fish_seen_subcommand_from "+word)
		}
		if len(c.subs) > 0 {
			var below []string
			for _, sub := range c.subs {
				below = append(below, sub.node.Name)
			}
			conditions = append(conditions, "not __fish_seen_subcommand_from "+strings.Join(below, " "))
		}
		rule := fmt.Sprintf("complete -c %s", name)
		if len(conditions) > 0 {
			rule += " -n '" + strings.Join(conditions, "; and ") + "'"
		}
		for _, sub := range c.subs {
			fmt.Fprintf(&b, "%s -a %s -d %s\n", rule, sub.node.Name, fishQuote(sub.node.Help))
		}
		for _, flag := range c.flags {
			line := rule + " -l " + flag.Name
			if flag.Short != 0 {
				line += " -s " + string(flag.Short)
			}
			if takesValue(flag) {
				line += " -x" + fishOffer(f, flag.Value)
			}
			fmt.Fprintf(&b, "%s -d %s\n", line, fishQuote(flag.Help))
		}
		for _, arg := range c.args {
			if offer := fishOffer(f, arg); offer != "" {
				fmt.Fprintf(&b, "%s%s -d %s\n", rule, offer, fishQuote(arg.Name))
			}
		}
	})
	return b.String()
}

func fishOffer(f string, v *kong.Value) string {
	switch kind, words := kind(v); kind {
	case aWord:
		return " -a '" + strings.Join(words, " ") + "'"
	case anInterface:
		return " -a '(" + f + "_interfaces)'"
	case files:
		return " -a '(__fish_complete_path (commandline -ct))'"
	}
	return ""
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}
