/** Finds the string literals of SQL, also those in bodies of functions: what stands between dollar signs is read like the rest. */
const tokens =
  /--[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"]|"")*"|(?<![\w$])(?:e'(?:[^'\\]|''|\\[\s\S])*'|u&'(?:[^']|'')*')|'(?:[^']|'')*'/gi

/**
 * Literals whose value depends on the session that parses them. With `standard_conforming_strings = off`, a backslash in a plain
 * literal is an escape and U&'' is refused. `backslash_quote = off` refuses a quote behind a backslash.
 */
export const dependentLiterals = (sql: string): ReadonlyArray<string> =>
  (sql.match(tokens) ?? []).filter(
    (token) =>
      (token.startsWith("'") && token.includes("\\")) ||
      /^u&'/i.test(token) ||
      (/^e'/i.test(token) && token.replaceAll("\\\\", "").includes("\\'"))
  )
