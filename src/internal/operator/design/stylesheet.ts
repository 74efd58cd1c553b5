/** The stylesheet of all pages: tokens, elements, layouts, and the styles of each component. */
import * as ActionForm from "./ActionForm.js"
import * as Badge from "./Badge.js"
import { base } from "./base.js"
import * as Changes from "./Changes.js"
import * as Command from "./Command.js"
import * as Copy from "./Copy.js"
import * as Diff from "./Diff.js"
import * as Empty from "./Empty.js"
import * as Facts from "./Facts.js"
import * as FilterForm from "./FilterForm.js"
import * as Frame from "./Frame.js"
import * as JsonView from "./JsonView.js"
import * as KeyValue from "./KeyValue.js"
import * as Names from "./Names.js"
import * as Notice from "./Notice.js"
import * as Pager from "./Pager.js"
import * as Panel from "./Panel.js"
import * as Rail from "./Rail.js"
import * as Search from "./Search.js"
import * as Table from "./Table.js"
import * as Time from "./Time.js"
import { tokens } from "./tokens.js"
import * as Value from "./Value.js"

const layouts = `
.two{display:grid;grid-template-columns:minmax(220px,280px) minmax(0,1fr);gap:var(--s5)}
.rowpage{display:grid;grid-template-columns:minmax(300px,2fr) minmax(0,3fr);gap:var(--s5);align-items:start}
.cols{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:var(--s5)}
@media(min-width:1000px){.stay{position:sticky;top:var(--s4)}}
@media(max-width:860px){.two,.rowpage{grid-template-columns:minmax(0,1fr)}}
`

export const stylesheet: string = [
  tokens,
  base,
  layouts,
  ActionForm.css,
  Badge.css,
  Changes.css,
  Command.css,
  Copy.css,
  Diff.css,
  Empty.css,
  Facts.css,
  FilterForm.css,
  Frame.css,
  JsonView.css,
  KeyValue.css,
  Names.css,
  Notice.css,
  Pager.css,
  Panel.css,
  Rail.css,
  Search.css,
  Table.css,
  Time.css,
  Value.css
]
  .join("")
  .replaceAll("\n", "")
