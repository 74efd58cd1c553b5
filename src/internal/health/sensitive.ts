/**
 * Names of columns that look as if their values should not be recorded as they are.
 */
import type { Catalog } from "../capture/catalogModel.js"
import type { Policy } from "../capture/model.js"
import { findTable, sameName } from "../capture/resolve.js"
import type { ColumnName } from "../core/columnName.js"

/** Words of names, in lower case. A name with these words in a row, written together or apart, looks sensitive. */
export const sensitiveWords: ReadonlyArray<string> = [
  "access key",
  "account number",
  "api key",
  "authorization",
  "bank account",
  "card number",
  "credential",
  "credit card",
  "cvc",
  "cvv",
  "date of birth",
  "iban",
  "license number",
  "national id",
  "otp",
  "passphrase",
  "passport",
  "passwd",
  "password",
  "pin",
  "private key",
  "pwd",
  "recovery code",
  "routing number",
  "secret",
  "social security",
  "ssn",
  "tax id",
  "token"
]

/** `apiKey2`, `API_KEY` and `api-key` have the words `api` and `key`. */
const wordsOf = (name: string): ReadonlyArray<string> =>
  name
    .replaceAll(/(\p{Ll}|\p{N})(\p{Lu})/gu, "$1 $2")
    .replaceAll(/(\p{Lu})(\p{Lu}\p{Ll})/gu, "$1 $2")
    .toLowerCase()
    .split(/[^\p{L}]+/u)
    .filter((word) => word.length > 0)

const singular = (word: string): string =>
  word.endsWith("s") && word.length > 3 && !word.endsWith("ss") ? word.slice(0, -1) : word

const knownParts: ReadonlyArray<ReadonlyArray<string>> = sensitiveWords.map((name) => wordsOf(name).map(singular))

/** Whether a column of this name looks sensitive. `names` are words beside the known ones. */
export const looksSensitive = (column: string, names: ReadonlyArray<string> = []): boolean => {
  const words = wordsOf(column).map(singular)
  const together = ` ${words.join(" ")} `
  return [...knownParts, ...names.map((name) => wordsOf(name).map(singular))].some(
    (parts) => parts.length > 0 && (together.includes(` ${parts.join(" ")} `) || words.includes(parts.join("")))
  )
}

/** Columns of a captured table that look sensitive, are in its images as they are, and were not acknowledged. */
export const sensitiveInClear = (
  catalog: Catalog,
  policy: Policy,
  names: ReadonlyArray<string>,
  acknowledged: ReadonlyArray<ColumnName>
): ReadonlyArray<string> => {
  const name = { schema: policy.tableSchema, name: policy.tableName }
  return (findTable(catalog, name)?.columns ?? [])
    .filter(
      (column) =>
        !column.virtual &&
        !policy.exclude.includes(column.name) &&
        !policy.mask.includes(column.name) &&
        looksSensitive(column.name, names) &&
        !acknowledged.some((each) => sameName(each, name) && each.column === column.name)
    )
    .map((column) => column.name)
}
