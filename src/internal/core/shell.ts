/** Words for a shell. */

// A word that begins with "=" names a program in zsh.
const plain = /^[A-Za-z0-9_./:@%+,-][A-Za-z0-9_./:@%+,=-]*$/

/** A word as POSIX shells read it: in quotes if it has anything that one of them would expand. */
export const shellWord = (text: string): string => (plain.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)
