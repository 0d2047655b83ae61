import { path } from "../api/client";
import type { Filter, Network, Port, Router } from "../api/types";
import { about, Reading } from "./reading.svelte";

/** Networks and what belongs to them, kept while a page shows them. */
export const nets = {
  networks: new Reading<Network[]>(path("networks"), about("network", "port")),
  ports: new Reading<Port[]>(path("ports"), about("port", "guest")),
  routers: new Reading<Router[]>(path("routers"), about("router")),
  filters: new Reading<Filter[]>(path("filters"), about("filter", "port")),

  use(): () => void {
    const stops = [this.networks.use(), this.ports.use(), this.routers.use(), this.filters.use()];
    return () => {
      for (const stop of stops) stop();
    };
  },

  load(): void {
    for (const reading of [this.networks, this.ports, this.routers, this.filters]) void reading.load();
  },
};
