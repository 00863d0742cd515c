"""How AWS's PyTorch containers start a program (sagemaker_pytorch_container.training of version 3.0.0).

The toolkit alone, as on a laptop, does not know torchrun.
"""

from sagemaker_training import entry_point, environment, runner


def main() -> None:
    env = environment.Environment()
    torchrun = env.additional_framework_parameters.get("sagemaker_torch_distributed_enabled", False)
    entry_point.run(
        uri=env.module_dir,
        user_entry_point=env.user_entry_point,
        args=env.to_cmd_args(),
        env_vars=env.to_env_vars(),
        capture_error=True,
        runner_type=runner.TorchDistributedRunnerType if torchrun else runner.ProcessRunnerType,
    )
