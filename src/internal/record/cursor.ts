/**
 * Cursors: where the next page begins, bound to its query.
 *
 * Without a scope, a cursor is a readable string and needs nothing from the database. Under a scope, the place may be a row that
 * the reader may not see. A place that readers chose themselves would also tell them what lies behind it. So under a scope a
 * cursor is encrypted, authenticated, and bound to the scope as well.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { createCipheriv, createDecipheriv, createHash, type KeyObject, randomBytes } from "node:crypto"
import { Cursor } from "../../Page.js"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { inRange } from "../core/instant.js"
import { isId } from "../core/request.js"
import type { Restriction } from "./scope.js"
import type { Storage } from "./storage.js"
import { isStorable } from "../core/text.js"

/** Two numbers that order the items of a query: transaction and change, or microseconds and change. */
export interface Position {
  readonly major: bigint
  readonly id: bigint
}

/** What identifies a query: the kind of read, and its whole request except the size of the page. */
export interface Bound {
  readonly kind: string
  /** Canonical: equal queries have equal texts. */
  readonly text: string
}

export interface Query extends Bound {
  /** What `major` of a position is. */
  readonly order: "ids" | "time"
}

/** What a cursor needs of the storage. */
type Sealing = Pick<Storage, "cursorKey" | "restriction">

const makeCursor = Schema.decodeSync(Cursor)

const refused = (rule: string) => Either.left(new InvalidRequest({ field: "cursor", rule }))

const boundText = ({ kind, text }: Bound): string => `${kind}\0${text}`

const version = "1"

const hash = (query: Bound): string => createHash("sha256").update(boundText(query)).digest("base64url").slice(0, 16)

const write = (query: Bound, place: string): Cursor =>
  makeCursor(Buffer.from(`${version} ${hash(query)} ${place}`).toString("base64url"))

const read = (query: Bound, cursor: string): Either.Either<string, InvalidRequest> => {
  const text = Buffer.from(cursor, "base64url").toString("utf8")
  const [, writtenVersion, bound, place] = /^([0-9]{1,3}) (?:([^ ]*) ([^]*))?/.exec(text) ?? []
  if (Buffer.from(text).toString("base64url") !== cursor || writtenVersion === undefined) {
    return refused("is not a cursor")
  }
  if (writtenVersion !== version) {
    return refused("was made by another version of Threadline")
  }
  if (bound === undefined || place === undefined) {
    return refused("is not a cursor")
  }
  return bound === hash(query) ? Either.right(place) : refused("belongs to another query")
}

const algorithm = "aes-256-gcm"
const nonceBytes = 12
const tag = { authTagLength: 16 }

/** The first byte of a sealed cursor. It is no digit, so neither form is mistaken for the other. */
const sealedVersion = 1

/** Bytes of a place before it is sealed: of a place that is two numbers, and of a place that is a key. A key has at most 512 bytes. */
const sizes = { numbers: 64, key: 576 }

/** All places of one size have cursors of one length, so the length tells nothing of a hidden key. No place has a NUL. */
const padded = (place: string, size: number): Buffer => {
  const bytes = Buffer.alloc((Math.floor(Buffer.byteLength(place) / size) + 1) * size)
  bytes.write(place)
  return bytes
}

/** What is authenticated with the place: the query, and what its reader may see. */
const sealedText = (query: Bound, { text }: Restriction): Buffer => Buffer.from(`${boundText(query)}\0${text}`)

const seal = (key: KeyObject, authenticated: Buffer, place: string, size: number): Cursor => {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv(algorithm, key, nonce, tag).setAAD(authenticated)
  const sealed = Buffer.concat([cipher.update(padded(place, size)), cipher.final()])
  return makeCursor(Buffer.concat([Buffer.of(sealedVersion), nonce, cipher.getAuthTag(), sealed]).toString("base64url"))
}

/** One rule for every mistake. Different rules would tell a forger how far they got. */
const notOfQuery = () => refused("is not a cursor of this query")

const unseal = (key: KeyObject, authenticated: Buffer, cursor: string): Either.Either<string, InvalidRequest> => {
  const bytes = Buffer.from(cursor, "base64url")
  const [nonceEnd, tagEnd] = [1 + nonceBytes, 1 + nonceBytes + tag.authTagLength]
  if (bytes.toString("base64url") !== cursor || bytes[0] !== sealedVersion || bytes.length <= tagEnd) {
    return notOfQuery()
  }
  const decipher = createDecipheriv(algorithm, key, bytes.subarray(1, nonceEnd), tag)
    .setAAD(authenticated)
    .setAuthTag(bytes.subarray(nonceEnd, tagEnd))
  const opened = Either.try(() => Buffer.concat([decipher.update(bytes.subarray(tagEnd)), decipher.final()]))
  return Either.match(opened, {
    onLeft: notOfQuery,
    onRight: (plain) => Either.right(plain.subarray(0, plain.indexOf(0)).toString("utf8"))
  })
}

const close = (
  { cursorKey, restriction }: Sealing,
  query: Bound,
  place: string,
  size: number
): Effect.Effect<Cursor, ThreadlineError> =>
  restriction === undefined
    ? Effect.succeed(write(query, place))
    : Effect.map(cursorKey, (key) => seal(key, sealedText(query, restriction), place, size))

const open = (
  { cursorKey, restriction }: Sealing,
  query: Bound,
  cursor: string
): Effect.Effect<string, InvalidRequest | ThreadlineError> =>
  restriction === undefined
    ? read(query, cursor)
    : Effect.flatMap(cursorKey, (key) => unseal(key, sealedText(query, restriction), cursor))

export const encode = (
  storage: Sealing,
  query: Query,
  { id, major }: Position
): Effect.Effect<Cursor, ThreadlineError> => close(storage, query, `${major} ${id}`, sizes.numbers)

const positionOf = ({ order }: Query, place: string): Either.Either<Position, InvalidRequest> => {
  const [, major, id] = /^(0|-?[1-9][0-9]{0,18}) ([0-9]+)$/.exec(place) ?? []
  if (major === undefined || id === undefined || !isId(id)) {
    return refused("is not a cursor")
  }
  const position = { major: BigInt(major), id: BigInt(id) }
  return (order === "time" ? inRange(position.major) : isId(major))
    ? Either.right(position)
    : refused("is not a cursor")
}

export const decode = (
  storage: Sealing,
  query: Query,
  cursor: string
): Effect.Effect<Position, InvalidRequest | ThreadlineError> =>
  Effect.flatMap(open(storage, query, cursor), (place) => positionOf(query, place))

/** A cursor of a query whose items are in the order of a key. */
export const encodeKey = (storage: Sealing, query: Bound, key: string): Effect.Effect<Cursor, ThreadlineError> =>
  close(storage, query, key, sizes.key)

export const decodeKey = (
  storage: Sealing,
  query: Bound,
  cursor: string
): Effect.Effect<string, InvalidRequest | ThreadlineError> =>
  Effect.flatMap(open(storage, query, cursor), (key) =>
    isStorable(key) ? Either.right(key) : refused("is not a cursor")
  )
