/** Completions for shells, made from the declarations of the commands. */
import { shellWord } from "../src/internal/core/shell.js"
import { below, groups } from "./commands.js"
import type { CommandFacts, OptionFacts } from "./parser/declare.js"

export const shells = ["bash", "zsh", "fish"] as const

export type Shell = (typeof shells)[number]

/** The script that a shell reads. It never runs the program. */
export const completions = (shell: Shell, leaves: ReadonlyArray<CommandFacts>): string => scripts[shell](leaves)

/** Whether the value of an option is completed as a directory or a file. */
const isDirectory = ({ placeholder }: OptionFacts): boolean => placeholder === "DIRECTORY"
const isFile = ({ placeholder }: OptionFacts): boolean => placeholder === "FILE"

const dashed = ({ name }: OptionFacts): string => `--${name}`

const unique = (words: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(words)].sort()

/** Options that have a value. The word behind such an option is neither a command nor an argument. */
const withValue = (leaves: ReadonlyArray<CommandFacts>): ReadonlyArray<string> =>
  unique(leaves.flatMap(({ options }) => options.filter(({ placeholder }) => placeholder !== undefined).map(dashed)))

/** Everything that has commands below it: the program and its groups. */
const parents: ReadonlyArray<ReadonlyArray<string>> = [[], ...Object.keys(groups).map((group) => group.split(" "))]

const summaryOf = (path: ReadonlyArray<string>, leaves: ReadonlyArray<CommandFacts>): string =>
  leaves.find((leaf) => leaf.path.join(" ") === path.join(" "))?.summary ?? groups[path.join(" ")] ?? ""

const bash = (leaves: ReadonlyArray<CommandFacts>): string => {
  const values = leaves.flatMap(({ options, path }) =>
    options.flatMap((option) => {
      const pattern = `${shellWord(`${path.join(" ")} ${dashed(option)}`)})`
      return option.words.length > 0
        ? [`    ${pattern} words=${shellWord(option.words.join(" "))} ;;`]
        : isFile(option)
          ? [`    ${pattern} files=-f ;;`]
          : isDirectory(option)
            ? [`    ${pattern} files=-d ;;`]
            : []
    })
  )
  const commandWords = parents.map(
    (path) => `    ${shellWord(path.join(" "))}) words=${shellWord(below(path).join(" "))} ;;`
  )
  const argumentWords = leaves.flatMap((leaf) =>
    leaf.arguments.flatMap(({ words }, index) =>
      words.length === 0
        ? []
        : [`    ${shellWord(`${leaf.path.join(" ")} ${index}`)}) words=${shellWord(words.join(" "))} ;;`]
    )
  )
  const optionWords = leaves.map(
    ({ options, path }) =>
      `    ${shellWord(path.join(" "))}) words=${shellWord([...options.map(dashed), "--help"].join(" "))} ;;`
  )
  return `# Completions of threadline for bash; to have them: source <(threadline completions bash)
_threadline() {
  local current=\${COMP_WORDS[COMP_CWORD]} command= option= words= files= word index glued= given=0
  COMPREPLY=()
  if [ "$current" = "=" ]; then
    current=
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    # A word breaks at its equals sign and at its colons: --order=newest is three words here.
    if [[ "$word" = [:=]* ]]; then
      glued=yes
      continue
    fi
    if [ -n "$option$glued" ]; then
      option= glued=
      continue
    fi
    case "$word" in
    ${withValue(leaves).join("|")}) option=$word ;;
    -*) ;;
    *)
      case "$command" in
      ''|${Object.keys(groups).map(shellWord).join("|")}) command=\${command:+$command }$word ;;
      *) given=$((given + 1)) ;;
      esac
      ;;
    esac
  done
  if [ -n "$option" ]; then
    case "$command $option" in
${values.join("\n")}
    esac
  elif [ -n "$glued" ]; then
    return
  elif [ "\${current#-}" != "$current" ]; then
    case "$command" in
${optionWords.join("\n")}
    *) words='--help --version' ;;
    esac
  else
    case "$command" in
${commandWords.join("\n")}
    *)
      case "$command $given" in
${argumentWords.map((line) => `  ${line}`).join("\n")}
      esac
      ;;
    esac
  fi
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen "$files" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -F _threadline threadline
`
}

/** A description as `_arguments` of zsh reads it. Brackets and colons are escaped. */
const inBrackets = (text: string): string => text.replaceAll(/[[\]:\\]/g, "\\$&")

const zsh = (leaves: ReadonlyArray<CommandFacts>): string => {
  const action = (words: ReadonlyArray<string>): string => (words.length === 0 ? "" : `(${words.join(" ")})`)
  const optionSpec = (option: OptionFacts): string => {
    const name = `${option.repeated ? "*" : ""}${dashed(option)}`
    const description = `[${inBrackets(option.description)}]`
    const values = isFile(option) ? "_files" : isDirectory(option) ? "_files -/" : action(option.words)
    return shellWord(
      option.placeholder === undefined
        ? `${name}${description}`
        : `${name}=${description}:${inBrackets(option.placeholder)}:${values}`
    )
  }
  const ofLeaf = (leaf: CommandFacts): string =>
    [
      "_arguments -S",
      ...leaf.options.map(optionSpec),
      shellWord("(- *)--help[Show the options of the command.]"),
      ...leaf.arguments.map(({ name, optional, words }, index) =>
        shellWord(`${index + 1}:${optional ? ":" : ""}${inBrackets(name)}:${action(words)}`)
      )
    ].join(" \\\n        ")
  const ofParent = (path: ReadonlyArray<string>): string => {
    const names = below(path)
    const described = names.map((name) => shellWord(`${name}:${inBrackets(summaryOf([...path, name], leaves))}`))
    const cases = names.map((name) => {
      const inner = [...path, name]
      const leaf = leaves.find((candidate) => candidate.path.join(" ") === inner.join(" "))
      return `    ${name})\n      ${leaf === undefined ? functionOf(inner) : ofLeaf(leaf)}\n      ;;`
    })
    return `${functionOf(path)}() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C '(- *)--help[Show what there is.]' ${path.length === 0 ? "'(- *)--version[Show the version.]' " : ""}'1: :->command' '*:: :->rest'
  case $state in
  command)
    local -a commands
    commands=(
      ${described.join("\n      ")}
    )
    _describe command commands
    ;;
  rest)
    case $line[1] in
${cases.join("\n")}
    esac
    ;;
  esac
}`
  }
  return `#compdef threadline
# Completions of threadline for zsh; to have them, write them to a file _threadline in a directory of $fpath.

${[...parents].reverse().map(ofParent).join("\n\n")}

if [ "$funcstack[1]" = "_threadline" ]; then
  _threadline "$@"
else
  compdef _threadline threadline
fi
`
}

const functionOf = (path: ReadonlyArray<string>): string => ["_threadline", ...path].join("_")

const fish = (leaves: ReadonlyArray<CommandFacts>): string => {
  const single = (text: string): string => `'${text.replaceAll(/[\\']/g, "\\$&")}'`
  const when = (condition: string): string => `complete -c threadline -n ${single(condition)}`
  const commandLines = parents.flatMap((path) =>
    below(path).map(
      (name) =>
        `${when(["__threadline_at", String(path.length), ...path].join(" "))} -a ${name} -d ${single(summaryOf([...path, name], leaves))}`
    )
  )
  const optionLines = leaves.flatMap(({ options, path }) =>
    options.map((option) => {
      const value =
        option.placeholder === undefined
          ? ""
          : isFile(option)
            ? " -r -F"
            : isDirectory(option)
              ? " -x -a '(__fish_complete_directories)'"
              : option.words.length > 0
                ? ` -x -a ${single(option.words.join(" "))}`
                : " -x"
      return `${when(`__threadline_in ${path.join(" ")}`)} -l ${option.name}${value} -d ${single(option.description)}`
    })
  )
  const argumentLines = leaves.flatMap((leaf) =>
    leaf.arguments.flatMap(({ description, words }, index) =>
      words.length === 0
        ? []
        : [
            `${when(`__threadline_at ${leaf.path.length + index} ${leaf.path.join(" ")}`)} -a ${single(words.join(" "))} -d ${single(description)}`
          ]
    )
  )
  return `# Completions of threadline for fish; to have them: threadline completions fish | source

# Command and arguments before the cursor, without options and their values.
function __threadline_words
    set -l skip no
    for token in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $token
            case ${withValue(leaves).join(" ")}
                set skip yes
            case '-*'
            case '*'
                echo -- $token
        end
    end
end

# Whether the words begin with a command.
function __threadline_in
    set -l words (__threadline_words)
    test (count $words) -ge (count $argv)
    or return 1
    for index in (seq (count $argv))
        test "$words[$index]" = "$argv[$index]"
        or return 1
    end
end

# The same, and whether there are so many of them.
function __threadline_at
    test (count (__threadline_words)) -eq $argv[1]
    and begin
        test (count $argv) -eq 1
        or __threadline_in $argv[2..-1]
    end
end

complete -c threadline -f
complete -c threadline -l help -d 'Show what there is.'
${when("__threadline_at 0")} -l version -d 'Show the version.'
${[...commandLines, ...optionLines, ...argumentLines].join("\n")}
`
}

const scripts: Readonly<Record<Shell, (leaves: ReadonlyArray<CommandFacts>) => string>> = { bash, zsh, fish }
