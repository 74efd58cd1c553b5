/**
 * What every component of a page can use: addresses, the viewer, the time zone, the room, and the host's functions.
 */
import { createContext } from "preact"
import { useContext } from "preact/hooks"
import type * as Actor from "../../Actor.js"
import type * as Export from "../../Export.js"
import type { Viewer } from "./access.js"
import { type Addresses, hostLink, make } from "./address.js"
import type { ColumnsByTable } from "./columnOrder.js"
import type { MasksByTable } from "./masks.js"
import { utc } from "./zone.js"

export type Theme = "light" | "dark" | undefined

/** A row as the host's functions get it. */
export interface HostRow {
  /** As in SQL: `public.invoices`. */
  readonly table: string
  /** The key as one string. */
  readonly key: string
  /** The key by column, if it is known. */
  readonly rowPk: { readonly [column: string]: string } | null
}

/** What the host's `label` function gets. */
export type Labelled =
  { readonly _tag: "Actor"; readonly actor: Actor.Actor } | { readonly _tag: "Row"; readonly row: HostRow }

/** The functions by which pages link back into the host. */
export interface HostLinks {
  readonly rowLink?: ((row: HostRow) => string | null | undefined) | undefined
  readonly actorLink?: ((actor: Actor.Actor) => string | null | undefined) | undefined
  readonly label?: ((thing: Labelled) => string | null | undefined) | undefined
}

/** How much a page shows of long values. A page that is too large is rendered again with a smaller room. */
export interface Room {
  /** Fields of one change. */
  readonly fields: number
  /** Characters of one value. */
  readonly value: number
  /** Places of one structural diff. */
  readonly places: number
}

export const rooms: readonly [Room, Room, Room, Room] = [
  { fields: 40, value: 600, places: 24 },
  { fields: 10, value: 200, places: 10 },
  { fields: 5, value: 90, places: 5 },
  { fields: 2, value: 40, places: 2 }
]

/** The rooms of a page of short changes. The other rooms give nearly the same page. */
export const briefRooms: readonly [Room, Room] = [rooms[0], rooms[2]]

/** Which services the host provides. A page without its service is not in the navigation. */
export interface Offers {
  readonly coverage: boolean
  readonly evidence: boolean
  readonly retention: boolean
  readonly exports: boolean
  /** Formats of files that this process can write. */
  readonly formats: ReadonlyArray<Export.Format>
}

export interface Site {
  readonly to: Addresses
  /** Path and query of this page, for forms that come back to it. */
  readonly here: string
  readonly prefix: string
  readonly zone: string
  readonly now: number
  readonly viewer: Viewer
  readonly theme: Theme
  /** Proves that a form comes from one of these pages. */
  readonly token: string
  readonly offers: Offers
  readonly room: Room
  readonly links: HostLinks
  /** Masks by table, named as in SQL, and column. */
  readonly masks: MasksByTable
  readonly columns: ColumnsByTable
  readonly title: string
}

const nowhere: Site = {
  to: make(""),
  here: "/",
  prefix: "",
  zone: utc,
  now: 0,
  viewer: { actor: undefined, scope: undefined, scopeName: undefined, namedScope: undefined, may: () => false },
  theme: undefined,
  token: "",
  offers: { coverage: false, evidence: false, retention: false, exports: false, formats: [] },
  room: rooms[0],
  links: {},
  masks: new Map(),
  columns: new Map(),
  title: "Audit"
}

export const SiteContext = createContext<Site>(nowhere)

export const useSite = (): Site => useContext(SiteContext)

/** If a function of the host throws, there is no link or label. */
const attempt = <A>(run: () => A): A | undefined => {
  try {
    return run()
  } catch {
    return undefined
  }
}

export const rowLinkOf = ({ links: { rowLink } }: Site, row: HostRow): string | undefined =>
  rowLink === undefined ? undefined : hostLink(attempt(() => rowLink(row)))

export const actorLinkOf = ({ links: { actorLink } }: Site, actor: Actor.Actor): string | undefined =>
  actorLink === undefined ? undefined : hostLink(attempt(() => actorLink(actor)))

export const labelOf = ({ links: { label } }: Site, thing: Labelled): string | undefined => {
  const text: unknown = label === undefined ? undefined : attempt(() => label(thing))
  return typeof text === "string" && text.trim() !== "" ? text.slice(0, 200) : undefined
}
