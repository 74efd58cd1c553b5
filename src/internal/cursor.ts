/**
 * Cursors: the position of the last item of a page, bound to the query by a hash of it.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { Cursor } from "../Page.js"
import { InvalidRequest } from "../ThreadlineError.js"
import { inRange } from "./queryInstant.js"
import { isId } from "./queryRequest.js"
import { isStorable } from "./text.js"

/** Two numbers that order the items of a query: transaction and change, or microseconds and change. */
export interface Position {
  readonly major: bigint
  readonly id: bigint
}

/** What identifies a query: the kind of read, and everything of its request but the size of the page. */
export interface Bound {
  readonly kind: string
  /** Canonical: equal queries have equal texts. */
  readonly text: string
}

export interface Query extends Bound {
  /** What `major` of a position is. */
  readonly order: "ids" | "time"
}

const version = "1"

const makeCursor = Schema.decodeSync(Cursor)

const hash = (query: Bound): string =>
  createHash("sha256").update(`${query.kind}\0${query.text}`).digest("base64url").slice(0, 16)

export const encode = (query: Query, position: Position): Cursor =>
  makeCursor(Buffer.from([version, hash(query), position.major, position.id].join(" ")).toString("base64url"))

const refused = (rule: string) => Either.left(new InvalidRequest({ field: "cursor", rule }))

/** What follows the version and the hash in a cursor of this query. */
const open = (query: Bound, cursor: string): Either.Either<string, InvalidRequest> => {
  const text = Buffer.from(cursor, "base64url").toString("utf8")
  const [, found, bound, rest] = /^([0-9]{1,3}) (?:([^ ]*) ([^]*))?/.exec(text) ?? []
  if (Buffer.from(text).toString("base64url") !== cursor || found === undefined) {
    return refused("is not a cursor")
  }
  if (found !== version) {
    return refused("was made by another version of Threadline")
  }
  if (bound === undefined || rest === undefined) {
    return refused("is not a cursor")
  }
  return bound === hash(query) ? Either.right(rest) : refused("belongs to another query")
}

export const decode = (query: Query, cursor: string): Either.Either<Position, InvalidRequest> =>
  Either.flatMap(open(query, cursor), (text) => {
    const [, major, id] = /^(0|-?[1-9][0-9]{0,18}) ([0-9]+)$/.exec(text) ?? []
    if (major === undefined || id === undefined) {
      return refused("is not a cursor")
    }
    const position = { major: BigInt(major), id: BigInt(id) }
    return isId(id) && (query.order === "time" ? inRange(position.major) : isId(major))
      ? Either.right(position)
      : refused("is not a cursor")
  })

/** A cursor of a query whose items are ordered by a text. */
export const encodeText = (query: Bound, position: string): Cursor =>
  makeCursor(Buffer.from(`${version} ${hash(query)} ${position}`).toString("base64url"))

export const decodeText = (query: Bound, cursor: string): Either.Either<string, InvalidRequest> =>
  Either.flatMap(open(query, cursor), (text) => (isStorable(text) ? Either.right(text) : refused("is not a cursor")))
