"""The table of published sources that `prorl data prepare` knows. Reading it imports nothing."""

# Each is called with its knobs alone; what it gives is a `base.Converter`.
CONVERTERS = {
    "deepscaler": "nemo_prorl.data.prepare.deepscaler:DeepScaleR",
    "eurus_code": "nemo_prorl.data.prepare.eurus_code:EurusCode",
    "scp116k": "nemo_prorl.data.prepare.scp116k:Scp116k",
    "reasoning_gym": "nemo_prorl.data.prepare.reasoning_gym:ReasoningGymProblems",
    "llama_nemotron_if": "nemo_prorl.data.prepare.llama_nemotron_if:LlamaNemotronIF",
}
