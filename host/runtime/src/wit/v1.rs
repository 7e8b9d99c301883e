//! x
wasmtime::component::bindgen!({
    path: "../../wit/v1",
    inline: "
        package keyway:host;
        world everything {
            include keyway:connector/connector@1.0.0;
            include keyway:connector/reads@1.0.0;
            include keyway:connector/writes@1.0.0;
            include keyway:connector/acts@1.0.0;
            include keyway:connector/listens@1.0.0;
            include keyway:connector/remembers@1.0.0;
        }
    ",
    imports: { "keyway:connector/http": async | trappable, default: trappable },
    exports: { default: async },
});
